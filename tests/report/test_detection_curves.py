from __future__ import annotations

from pathlib import Path

from aaclip_kit.report.run_files import RunFiles
from aaclip_kit.report.training_section import MEAN, mean_curve
from aaclip_kit.report.training_section import curves_section as section

from ..helpers import assert_close
from .folders import new_folder, old_folder


def test_the_mean_is_taken_at_every_place_where_a_curve_bends() -> None:
    first = [(0.0, 0.0), (0.5, 1.0), (1.0, 1.0)]
    second = [(0.0, 0.2), (1.0, 0.6)]
    assert_close(mean_curve([first, second]), [(0.0, 0.1), (0.5, 0.7), (1.0, 0.8)])


def test_one_line_a_class_and_a_mean_where_there_are_several(tmp_path: Path) -> None:
    run = RunFiles(new_folder(tmp_path / "run").path)
    shown = section(run)
    assert shown["model"] == "loop 2"
    roc, pro = shown["figures"]
    assert [line.name for line in roc.key] == ["tile", "wood", MEAN]
    assert [line.name for line in pro.key] == ["tile"], "a class without regions has no curve, and one has no mean"
    assert "2 classes" in roc.alt
    assert "tile: 0.40 at a rate of 0.05" in pro.alt


def test_an_older_run_has_none(tmp_path: Path) -> None:
    assert section(RunFiles(old_folder(tmp_path / "run").path))["figures"] == []
