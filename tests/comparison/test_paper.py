"""Tables for a paper: what stands in each cell, that names cannot break them, and the files beside them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.comparison.compare import Comparison, compare
from aaclip_kit.comparison.finished_runs import gather
from aaclip_kit.comparison.paper import table, write_paper
from aaclip_kit.comparison.write import markdown

from .made import write_seeds

CLASSES = ("a", "b", "c", "d", "e", "f")
SEEDS = (111, 112, 113)


def compared(folder: Path, name: str = "other", shift: float = 0.012, sway: float = 0.0) -> Comparison:
    """Three seeds of six classes beside a run that is higher by `shift`, and by `sway` more from seed to seed."""
    plain = {seed: dict.fromkeys(CLASSES, 0.5 + 0.01 * row) for row, seed in enumerate(SEEDS)}
    moved = {
        seed: {one: value + shift + sway * (row - 1) for one, value in of.items()}
        for row, (seed, of) in enumerate(plain.items())
    }
    return compare(gather([write_seeds(folder / "plain", plain), write_seeds(folder / name, moved)]))


def test_latex_has_a_row_a_run_with_the_deciding_interval_and_a_mark(tmp_path: Path) -> None:
    lines = table(compared(tmp_path), "latex").splitlines()
    assert lines[:3] == ["% needs \\usepackage{booktabs}", "\\begin{tabular}{lrl}", "\\toprule"]
    assert lines[5] == "plain & $0.5100 \\pm 0.0100$ &  \\\\"
    assert lines[6] == "other & $0.5220 \\pm 0.0100$ & $+0.0120^{*}\\ [+0.0120, +0.0120]$ \\\\"
    assert lines[8] == "\\end{tabular}" and lines[9].startswith("% Mean over 6 classes")


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_shown_reads_so_in_every_form_however_near_to_zero_the_interval_ends(tmp_path: Path, sign: int) -> None:
    comparison = compared(tmp_path, shift=sign * 0.00203, sway=0.00081)
    verdict = comparison.differences["other"]["pixel_auroc"].verdict
    assert verdict.interval is not None and verdict.kind == "shown"
    nearest = min(abs(verdict.interval.low), abs(verdict.interval.high))
    assert 0 < nearest < 0.00005, "four decimals would make it zero"
    written = f"{nearest:.5f}"
    for text in (*(table(comparison, form) for form in ("latex", "csv", "markdown")), markdown(comparison)):
        assert written in text and "0.0000]" not in text.replace("\\", ""), text
    assert written in verdict.text


def test_a_difference_that_is_rounded_to_zero_keeps_its_sign(tmp_path: Path) -> None:
    comparison = compared(tmp_path, shift=-0.00004, sway=0.01)
    assert "$-0.0000" in table(comparison, "latex") and ",-0.0000," in table(comparison, "csv")


def test_what_is_not_shown_has_no_mark(tmp_path: Path) -> None:
    comparison = compared(tmp_path, shift=0.0, sway=0.02)
    assert "*" not in table(comparison, "latex").split("%")[0]
    assert table(comparison, "csv").splitlines()[2].endswith(",not shown")
    row = next(line for line in table(comparison, "markdown").splitlines() if line.startswith("| other"))
    assert "*" not in row and "[" in row


def test_markdown_and_csv_say_the_same_in_their_forms(tmp_path: Path) -> None:
    comparison = compared(tmp_path)
    assert "| other | 0.5220 ± 0.0100 | +0.0120 \\[+0.0120, +0.0120\\]\\* |" in table(comparison, "markdown")
    first, second = csv.DictReader(io.StringIO(table(comparison, "csv")))
    assert (first["run"], first["mean"], first["verdict"], first["low"]) == ("plain", "0.5100", "baseline", "")
    assert (second["difference"], second["low"], second["high"]) == ("0.0120",) * 3
    assert (second["seeds"], second["metric"], second["verdict"]) == ("3", "pixel_auroc", "shown")


def test_names_are_letters_and_no_commands_or_formulas(tmp_path: Path) -> None:
    comparison = compared(tmp_path, name="=a_b&50%\\x")
    assert "=a\\_b\\&50\\%\\textbackslash{}x & " in table(comparison, "latex")
    assert "'=a_b&50%\\x," in table(comparison, "csv")


def test_the_table_and_a_plot_of_each_metric_in_both_forms_are_written_and_nothing_over_another(tmp_path: Path) -> None:
    comparison, out = compared(tmp_path), tmp_path / "out"
    written = write_paper(comparison, "latex", out)
    assert [path.name for path in written] == ["table.tex", "pixel_auroc.pdf", "pixel_auroc.svg"]
    before = {path: path.read_bytes() for path in written}
    assert before[written[1]].startswith(b"%PDF") and b"<svg" in before[written[2]]
    again = write_paper(comparison, "latex", tmp_path / "again")
    assert [path.read_bytes() for path in again] == list(before.values())
    with pytest.raises(UserError, match="exists already"):
        write_paper(comparison, "latex", out)
    assert {path: path.read_bytes() for path in written} == before
