"""Says whether the main job still reaches what README's table shows, less what seeds and machines may take of it.

python benchmarks/floor.py RUN

Exits 1 with a line for each figure of the last loop that is too low, or below that of a rule which knows nothing.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

LOOPS, RULES = 3, 3
FLOORS = {"pixel_auroc": 0.94, "image_auroc": 0.85}
"""Of the mean over the test classes; seed 111 reaches 0.964 and 0.919."""


def main() -> None:
    """Read the run's metrics and tell what is wrong with them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run of experiments/feedback.toml")
    file = parser.parse_args().run / "metrics.json"
    faults = shortfalls(json.loads(file.read_text(encoding="utf-8")))
    for fault in faults:
        print(f"{file}: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


def shortfalls(metrics: dict[str, Any]) -> list[str]:
    """What is too low in a run's metrics, a line each."""
    loops = metrics["loops"]
    if len(loops) != LOOPS:
        return [f"has {len(loops)} loops in place of {LOOPS}"]
    return [fault for metric in FLOORS for fault in _of(metric, loops[-1]["mean"][metric], metrics["rules"])]


def _of(metric: str, value: float | None, rules: dict[str, Any]) -> list[str]:
    if value is None:
        return [f"{metric} is undefined"]
    least = {"the floor": FLOORS[metric], **{f"rule {name}": found["mean"][metric] for name, found in rules.items()}}
    faults = [f"{metric} is {value:.3f}, below {name}, {bound:.3f}" for name, bound in least.items() if value < bound]
    if len(rules) != RULES:
        faults.append(f"{metric} has {len(rules)} rules to be above, in place of {RULES}")
    return faults


if __name__ == "__main__":
    main()
