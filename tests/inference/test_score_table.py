"""The table of scores and its sum: safe for spreadsheets, and held in no memory but for the worst."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit.distributed.ranks import ALONE
from aaclip_kit.inference import score_table
from aaclip_kit.inference.results_folder import Results
from aaclip_kit.inference.score_table import write_table


def line(path: str, score: float, decision: str | None = "normal", disagreement: str | None = None) -> dict[str, Any]:
    return {"path": path, "class": "object", "score": score, "decision": decision, "disagreement": disagreement}


def results(folder: Path, *lines: dict[str, Any]) -> Results:
    made = Results(folder, ALONE)
    made.add(lines)
    made.put_together()
    return made


def test_the_worst_come_first_and_all_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_table, "MOST_WORST", 2)
    made = results(tmp_path, line("a", 0.1), line("b", 0.9, "anomalous", "empty"), line("c", 0.5), line("d", 0.2, None))
    summary = write_table(made)
    assert [one["path"] for one in summary.worst] == ["b", "c"]
    assert summary.decisions == {"normal": 2, "anomalous": 1, "undecided": 1} and summary.images == 4
    assert summary.disagreements["anomalous"] == 1 and not summary.disagreements["normal"]
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["score"]) for row in rows] == [("a", "0.1"), ("b", "0.9"), ("c", "0.5"), ("d", "0.2")]
    assert rows[3]["decision"] == ""


@pytest.mark.parametrize("name", ["=1+1.png", "+a.png", "-2.png", "@a.png"])
def test_no_name_is_computed_by_a_spreadsheet(tmp_path: Path, name: str) -> None:
    write_table(results(tmp_path, line(name, -0.5)))
    with (tmp_path / "scores.csv").open(newline="") as file:
        _, row = csv.reader(file)
    assert row[0] == f"'{name}" and row[2] == "-0.5", "a number stays one"


@pytest.mark.parametrize("name", ["a\udcff.png", "\t=1.png", "\r=1.png", "a\n=1.png"])
def test_what_is_no_letter_is_spelled_out(tmp_path: Path, name: str) -> None:
    write_table(results(tmp_path, line(name, 0.5)))
    with (tmp_path / "scores.csv").open(newline="") as file:
        _, row = csv.reader(file)
    assert row[0] == name.encode("unicode_escape").decode()
