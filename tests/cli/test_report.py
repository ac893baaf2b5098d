"""`aakit report`: a run's report, made again."""

from __future__ import annotations

from pathlib import Path

from ..command import Command
from ..report.folders import new_folder, old_folder
from .conftest import assert_plain


def test_the_report_is_made_again_from_the_folder_alone(aakit: Command, place: Path) -> None:
    for made in (new_folder(place / "new"), old_folder(place / "old")):
        ran = aakit("report", made.path)
        assert (ran.code, ran.out, ran.err) == (0, f"report: {made.report}\n", "")
        assert made.report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_that_is_no_run_is_refused(aakit: Command, place: Path) -> None:
    assert_plain(aakit("report", place))
    assert list(place.iterdir()) == []
    assert_plain(aakit("report", place / "missing"))
