"""The contact sheet: one page that needs nothing beside it, bounded however many images there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaclip_kit.report.contact_sheet import MOST_PICTURES, MOST_ROWS, Sheet, _shaded


def photograph(folder: Path, name: str, size: tuple[int, int] = (400, 300)) -> dict[str, Any]:
    """An image with a heatmap, and a mask that marks a few pixels in its middle."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[size[1] // 2, size[0] // 2] = 255
    for place, picture in (("", pixels), ("heatmaps", pixels), ("masks", mask)):
        (folder / place).mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / place / name)
    pictures = {"heatmap": f"heatmaps/{name}", "mask": f"masks/{name}"}
    return {"path": str(folder / name), "score": 0.5, "decision": "anomalous", "good_above": 0.015, **pictures}


def sheet(folder: Path, *lines: dict[str, Any], at_threshold: float | None = 0.3, more: int = 0) -> str:
    decisions = {"anomalous": len(lines), "normal": more}
    return (
        Sheet(worst=lines, decisions=decisions, folder=folder, at_threshold=at_threshold, good_images=200)
        .html()
        .decode()
    )


def test_it_shows_photo_outline_and_map_and_says_how_certain_the_decision_is(tmp_path: Path) -> None:
    page = sheet(tmp_path, photograph(tmp_path, "a.png"))
    assert page.count('src="data:image/jpeg') == 4, "three pictures, and the scale"
    assert "; 3 of 200 good images score as high" in page
    assert re.search(r"<span>normal</span><img [^>]*><span>anomalous</span>", page)
    assert "Outline of the mask" in page, "also of a mask that is smaller than a pixel of the small picture"
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "http" not in page


def test_what_is_gone_or_never_was_is_said(tmp_path: Path) -> None:
    line = photograph(tmp_path, "a.png")
    for name in ("a.png", "heatmaps/a.png"):
        (tmp_path / name).unlink()
    page = sheet(tmp_path, line)
    assert "photo: there is no such file" in page and "map: its file is gone" in page
    undecided = {**photograph(tmp_path, "b.png"), "decision": None, "good_above": None, "mask": None}
    page = sheet(tmp_path, undecided, at_threshold=None)
    assert "good images score" not in page and "white line" not in page and "Outline" not in page


@pytest.mark.slow
def test_it_is_bounded_for_many_images_and_says_how_many_more_there_are(tmp_path: Path) -> None:
    lines = [{**photograph(tmp_path, "a.png"), "score": -number} for number in range(MOST_PICTURES + 5)]
    page = sheet(tmp_path, *lines, *lines[-1:] * MOST_ROWS, more=70_000)
    assert 0 < page.count("<article") <= MOST_PICTURES
    assert page.count("<tr><td>") == MOST_ROWS - page.count("<article")
    assert f"{MOST_PICTURES + 5 + MOST_ROWS + 70_000 - MOST_ROWS:,} more score lower; scores.csv has them all" in page
    assert len(page) < 6_000_000


def test_what_is_not_looked_at_is_dark_in_the_photograph(tmp_path: Path) -> None:
    seen = np.zeros((300, 400), bool)
    seen[:, :200] = True
    shaded = np.asarray(_shaded(Image.new("RGB", (40, 30), (200, 200, 200)), seen))
    assert (shaded[:, :20] == 200).all() and (shaded[:, 20:] == 50).all()
    line = photograph(tmp_path, "a.png")
    made: dict[str, Any] = {"worst": [line], "decisions": {"normal": 1}, "folder": tmp_path, "at_threshold": 0.3}
    assert Sheet(**made, looked_at=seen).html() != Sheet(**made).html()
    assert b"1 image, worst first" in Sheet(**made).html()


def test_a_name_is_text_and_no_mark_up(tmp_path: Path) -> None:
    line = {**photograph(tmp_path, "a.png"), "path": "<script>alert(1)</script>\u202e.png"}
    page = sheet(tmp_path, line)
    assert "<script>" not in page and "\u202e" not in page
