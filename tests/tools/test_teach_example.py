"""The guide's example of teaching has the photographs that it says, and its picture begins with the highest score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools import teach_example


def test_folders_are_flat_and_hold_as_many_as_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teach_example, "COUNTS", {"good": (3, 0), "bad": (0, 2), "new": (2, 1)})
    teach_example.write_folders(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(tmp_path)) for path in files) == [
        *("bad/bad_00.png", "bad/bad_01.png", "good/good_00.png", "good/good_01.png", "good/good_02.png"),
        *("new/bad_00.png", "new/good_00.png", "new/good_01.png"),
    ]
    assert len({path.read_bytes() for path in files}) == len(files)


def test_the_picture_begins_with_the_highest_score(tmp_path: Path) -> None:
    lines = []
    for score in range(12):
        file = tmp_path / f"{score}.png"
        Image.new("RGB", (8, 8), (20 * score, 0, 0)).save(file)
        lines.append({"path": str(file), "heatmap": str(file), "score": float(score), "decision": "normal"})
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "scores.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sheet, side = np.asarray(teach_example.picture(tmp_path)), teach_example.SIDE + teach_example.GAP
    middle = sheet[teach_example.LINE + 10, 10::side, 0]
    assert middle.tolist() == [20 * score for score in (11, 10, 9, 8, 7, 5, 2, 0)]
