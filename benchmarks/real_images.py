"""The main job on a folder of real images: tested on all, and trained on some classes and tested on another.

python benchmarks/real_images.py ROOT [--seeds 3]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from machine import describe, main_job

COLUMNS = ("pixel_auroc", "image_auroc")
RULES = ("darkness", "colour_distance", "patch_distance")


def main() -> None:
    """Print a Markdown table: one row a class and source of training data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="folder in the MVTec layout")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each kind, with seeds 111, 112, ...")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    test = ["data.test.use=folder", f"data.test.root={root}"]
    print(describe())
    rules = " | ".join(f"rule: {name.replace('_', ' ')}" for name in RULES)
    print(f"| trained on | test class | {rules} | before | loop 1 | loop 2 | loop 3 |")
    print(f"|{'---|' * (len(RULES) + 6)}")
    report("drawn surfaces", [execute(seed, test) for seed in seeds(arguments.seeds)])
    classes = sorted(path.name for path in root.iterdir() if (path / "test").is_dir())
    for name in classes:
        others = [other for other in classes if other != name]
        train = ["data.train.use=folder", f"data.train.root={root}", f"data.train.classes={json.dumps(others)}"]
        only = [*test, f"data.test.classes={json.dumps([name])}"]
        report(", ".join(others), [execute(seed, [*train, *only]) for seed in seeds(arguments.seeds)])


def seeds(count: int) -> range:
    """The default seed and those after it."""
    return range(111, 111 + count)


def execute(seed: int, overrides: list[str]) -> dict[str, Any]:
    """One run's metrics."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        subprocess.run(main_job(out, [*overrides, f"seed={seed}"]), check=True, stdout=sys.stderr)
        found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
        return found


def report(trained_on: str, runs: list[dict[str, Any]]) -> None:
    """Pixel / image AUROC, means over the runs."""
    for name in runs[0]["before"]["classes"]:
        stages = [[run["rules"][rule]["classes"] for run in runs] for rule in RULES]
        stages.append([run["before"]["classes"] for run in runs])
        stages += [[run["loops"][loop]["classes"] for run in runs] for loop in range(len(runs[0]["loops"]))]
        cells = [" / ".join(f"{mean(found[name][key] for found in stage):.3f}" for key in COLUMNS) for stage in stages]
        print(f"| {trained_on} | {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
