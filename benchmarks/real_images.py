"""The main job on a folder of real images: before training, and after each loop, over several seeds.

python benchmarks/real_images.py ROOT [--seeds 5] [--across]
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


def main() -> None:
    """Print a Markdown table: one row a class and source of training data, one for the main job's own test sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="folder in the MVTec layout")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each kind, with seeds 111, 112, ...")
    parser.add_argument("--across", action="store_true", help="also train on the folder's other classes")
    arguments = parser.parse_args()
    root, seeds = arguments.root.resolve(), range(111, 111 + arguments.seeds)
    print(describe())
    print(
        "| trained on | test class | darkness | colour distance | patch distance | before | loop 1 | loop 2 | loop 3 |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    # One training of a seed is tested on everything: the main job's own classes and the folder's.
    folder = json.dumps(str(root))
    own = [{"use": use, "split": "test", "images_per_class": 30} for use in ("synthetic", "blended")]
    tables = ", ".join(
        "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in one.items()) + "}" for one in own
    )
    several = [f'data.test=[{tables}, {{use = "folder", root = {folder}, label = "real"}}]']
    report("the main job's classes", [execute(seed, several) for seed in seeds])
    if arguments.across:
        classes = sorted(path.name for path in root.iterdir() if (path / "test").is_dir())
        for name in classes:
            others = [other for other in classes if other != name]
            train = ["data.train.use=folder", f"data.train.root={folder}", f"data.train.classes={json.dumps(others)}"]
            test = ["data.test.use=folder", f"data.test.root={folder}", f"data.test.classes={json.dumps([name])}"]
            report(", ".join(others), [execute(seed, [*train, *test]) for seed in seeds])


def execute(seed: int, overrides: list[str]) -> dict[str, Any]:
    """One run's metrics."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        subprocess.run(main_job(out, [*overrides, f"seed={seed}"]), check=True, stdout=sys.stderr)
        found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
        return found


def report(trained_on: str, runs: list[dict[str, Any]]) -> None:
    """Pixel / image AUROC of each class, and of each data set where there are several, means over the runs."""
    rules = ("darkness", "colour_distance", "patch_distance")
    stages = [[run["rules"][rule] for run in runs] for rule in rules]
    stages += [[run["before"] for run in runs], *([run["loops"][loop] for run in runs] for loop in range(3))]
    for group in ("sets", "classes"):
        for name in runs[0]["before"].get(group, {}):
            cells = [
                " / ".join(f"{mean(found[group][name][key] for found in of):.3f}" for key in COLUMNS) for of in stages
            ]
            print(f"| {trained_on} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
