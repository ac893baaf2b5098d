"""The example on the page of each kind is a plugin file that keeps the contract which stands below it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit.plugin_host.registry import KINDS, Kind
from aaclip_kit.testing.subject import find_subject
from aaclip_kit.testing.tiny import draw_class

from ..tiers import daily
from .walk import first_broken

PAGES = Path(__file__).parents[2] / "docs" / "plugins" / "kinds"
NAMES: dict[Kind, str] = {
    "attention-stage": "my_stage",
    "backbone": "toy",
    "prompts": "my_prompts",
    "head": "my_head",
    "reference": "my_memory",
    "loss": "my_loss",
    "scheduler": "my_scheduler",
    "data-set": "my_data",
    "tracker": "my_tracker",
}


@pytest.mark.parametrize("kind", daily(KINDS, "attention-stage"))
def test_the_example_keeps_the_contract(kind: Kind, tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", (PAGES / f"{kind}.md").read_text(), re.DOTALL)[0]
    file = tmp_path / "example.py"
    file.write_text(code)
    broken = first_broken(find_subject(kind, NAMES[kind], options(kind, tmp_path), file))
    assert broken is None, str(broken)


def options(kind: Kind, folder: Path) -> dict[str, Any]:
    if kind == "attention-stage":
        return {"tower": "vision", "after": [0]}
    if kind != "data-set":
        return {}
    draw_class(folder / "drawn", channel=0, seed=0)
    root = folder / "images"
    for name, place in (("ok", "test/good"), ("bad", "test/spot"), ("masks", "ground_truth/spot")):
        (root / name).mkdir(parents=True)
        for image in (folder / "drawn" / place).iterdir():
            image.rename(root / name / image.name.replace("_mask", ""))
    return {"root": str(root)}
