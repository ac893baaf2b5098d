"""The Python on the pages runs as it stands there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from torch import nn

from aaclip_kit import AttentionStage, Prediction
from aaclip_kit.evaluation.class_metrics import METRICS, ClassMetrics

ROOT = Path(__file__).parents[1]
NOT_RUN = {"docs/reference/api.md", "docs/plugins/index.md", "docs/guide/sharing.md"}
"""The first has signatures, made from the code; the second tests a stage that is the reader's; the third asks the hub,
for which tests/hub has one of its own."""


def blocks_of(page: Path) -> list[str]:
    """Blocks of Python, without those that are parts of a file which the page names: the tutorial has its own test."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.relative_to(ROOT).as_posix() not in NOT_RUN and blocks_of(page)
]


def counted() -> dict[str, Any]:
    """Scores of four small images, as the page of metrics takes them."""
    random = np.random.default_rng(0)
    masks = np.zeros((4, 8, 8), bool)
    masks[2:, :4] = True
    return {
        "maps": random.random((4, 8, 8), np.float32) + masks, "masks": masks,
        "image_scores": np.array([0.1, 0.4, 0.3, 0.9], np.float32), "labels": np.array([0, 0, 1, 1]),
    }  # fmt: skip


@pytest.fixture
def given(tmp_path: Path, trained: Path, defects: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the pages speak of: a run, an image, another process's counts, and names that the text has introduced."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/NAME").symlink_to(trained)
    shutil.copy(defects / "green_wood" / "test" / "spot" / "000.png", "image.png")
    part = ClassMetrics()
    part.update(**counted())
    np.savez("part_2.npz", **cast(dict[str, Any], part.state()))
    return {"__name__": "page", "AttentionStage": AttentionStage, "nn": nn, **counted()}


def test_there_are_pages_with_python() -> None:
    assert {"predict.md", "metrics.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_a_page_runs_as_it_stands(page: Path, given: dict[str, Any]) -> None:
    for number, block in enumerate(blocks_of(page), start=1):
        exec(compile(block, f"{page.name}, block {number}", "exec", dont_inherit=True), given)
    if isinstance(result := given.get("result"), Prediction):
        assert result.decision in ("normal", "anomalous")
        assert result.mask is not None and result.anomaly_map.shape == result.mask.shape == (40, 40)
    if isinstance(found := given.get("found"), ClassMetrics):
        assert found.images.positives == 4 and list(found.values()) == list(METRICS)
