"""The floor under the main job's figures: what falls below it, or below a rule, is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import FOLDER

README = FOLDER.parent / "README.md"


def metrics(pixel: float | None = 0.973, image: float = 0.943, rule: float = 0.6, loops: int = 3) -> dict[str, Any]:
    """As metrics.json has them, of this last loop; the loops before it are better."""
    found = [{"loop": loop, "mean": {"pixel_auroc": 0.99, "image_auroc": 0.99}} for loop in range(1, loops)]
    found.append({"loop": loops, "mean": {"pixel_auroc": pixel, "image_auroc": image}})
    rules = {name: {"mean": {"pixel_auroc": 0.5, "image_auroc": 0.5}} for name in ("darkness", "patch_distance")}
    return {"loops": found, "rules": {**rules, "colour_distance": {"mean": {"pixel_auroc": rule, "image_auroc": 0.6}}}}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (metrics(), []),
        (metrics(pixel=0.939), ["pixel_auroc is 0.939, below the floor, 0.940"]),
        (metrics(image=0.84), ["image_auroc is 0.840, below the floor, 0.850"]),
        (metrics(rule=0.98), ["pixel_auroc is 0.973, below rule colour_distance, 0.980"]),
        (metrics(pixel=None), ["pixel_auroc is undefined"]),
        (metrics(loops=2), ["has 2 loops in place of 3"]),
        (
            {**metrics(), "rules": {}},
            [f"{name}_auroc has 0 rules to be above, in place of 3" for name in ("pixel", "image")],
        ),
    ],
)
def test_what_is_too_low_is_told(script: Any, found: dict[str, Any], said: list[str]) -> None:
    assert script("floor").shortfalls(found) == said


@pytest.mark.parametrize(("pixel", "code"), [(0.973, 0), (0.2, 1)])
def test_the_script_fails_where_something_is_too_low(tmp_path: Path, pixel: float, code: int) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(metrics(pixel=pixel)))
    ran = subprocess.run([sys.executable, FOLDER / "floor.py", tmp_path], capture_output=True, text=True, timeout=60)
    assert ran.returncode == code and ("below the floor" in ran.stderr) == bool(code)


def test_the_readme_s_figures_stand_above_the_floor(script: Any) -> None:
    cells = re.findall(r"^\| (?:loop 3|rule: .*?) \|(.*)\|$", README.read_text(), re.MULTILINE)
    *rules, loop = ([float(cell) for cell in row.split("|")] for row in cells)
    pixel, image = script("floor").FLOORS["pixel_auroc"], script("floor").FLOORS["image_auroc"]
    assert loop[0] > pixel and loop[0] > max(rule[0] for rule in rules)
    assert loop[2] > image and loop[2] > max(rule[2] for rule in rules)
