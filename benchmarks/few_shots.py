"""A few normal images beside the text, on a folder in the MVTec layout with train/good: nothing is trained.

python benchmarks/few_shots.py ROOT [--shots 8] [--draws 5] [--file experiments/base.toml] [--set KEY=VALUE ...]

A line a class: pixel / image AUROC of the frozen model, of the memory alone and of both, the mean over the draws and,
behind ±, the standard deviation.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, pstdev
from typing import Any, Final

from machine import describe

from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.evaluation.references import References, remember
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble

ROOT: Final = Path(__file__).parents[1]
METRICS: Final = ("pixel_auroc", "image_auroc")
KINDS: Final = ("zero-shot", "alone", "both")


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of classes, each with test and train/good")
    parser.add_argument("--shots", type=int, default=8, help="references of each class")
    parser.add_argument("--draws", type=int, default=5, help="draws of them, by seeds from 111 on")
    parser.add_argument("--file", type=Path, default=ROOT / "experiments" / "base.toml", help="experiment file")
    parser.add_argument("--set", action="append", default=[], help="further keys of it")
    arguments = parser.parse_args()
    print(describe())
    folder = json.dumps(str(arguments.root.resolve()))
    more = ["data.test=[{" + f'use = "folder", root = {folder}' + "}]"]
    more += [f'data.reference=[{{use = "folder", part = "train", root = {folder}, shots = {arguments.shots}}}]']
    more += ["reference.use=patch_memory", "compute.recompute=off", "device=cpu", *arguments.set]
    draws = [draw(arguments.file, [*more, f"seed={111 + number}"]) for number in range(arguments.draws)]
    print(f"| class | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}")
    for name in draws[0]["zero-shot"]:
        print(f"| {name} | {' | '.join(cell([one[kind][name] for one in draws]) for kind in KINDS)} |")


def draw(file: Path, overrides: list[str]) -> dict[str, dict[str, Any]]:
    """Metrics of each class for each kind of score, for one draw."""
    run = assemble(load(file, discover(), overrides))
    evaluator = Evaluator.of(run.model, run.compute_device, run.pixels, run.experiment.file, run.ranks)
    references = remember(run.model, run.compute_device, run.pixels, run.data.sets["reference"], 0)
    found = {"zero-shot": of(run, evaluator, None, "add")}
    found |= {kind: of(run, evaluator, references, how) for kind, how in (("alone", "alone"), ("both", "add"))}
    return found


def of(run: Run, evaluator: Evaluator, references: References | None, combine: str) -> dict[str, Any]:
    """Metrics of the frozen model, with the memory if there is one."""
    memory: Any = run.model.reference
    memory.options = memory.options.model_copy(update={"combine": combine})
    if references is not None:
        known = run.data.sets["reference"]
        evaluator = evaluator.remembering(references, known, frozenset(), trained=False)
    metrics = evaluator.metrics(run.data.sets["test"], frozenset(), trained=False)
    classes: dict[str, Any] = metrics["classes"]
    return classes


def cell(values: list[dict[str, float]]) -> str:
    """Both metrics, mean and deviation over the draws."""
    numbers = ([one[metric] for one in values] for metric in METRICS)
    return " / ".join(f"{mean(of):.3f} ± {pstdev(of):.3f}" for of in numbers)


if __name__ == "__main__":
    main()
