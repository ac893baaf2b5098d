"""`aakit compare` on folders of synthetic metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..command import Command
from ..comparison.made import write_seeds
from .conftest import assert_plain, contents

VALUES = {seed: dict.fromkeys("abcdef", 0.5 + 0.01 * seed) for seed in range(1, 6)}
HIGHER = {seed: {name: value + 0.1 for name, value in values.items()} for seed, values in VALUES.items()}


@pytest.fixture
def runs(place: Path) -> Path:
    """A folder of two variants: `plain`, and `better` by one tenth."""
    write_seeds(place / "study" / "plain", VALUES)
    write_seeds(place / "study" / "better", HIGHER)
    return place / "study"


def test_a_variant_without_a_result_is_named_beside_csv_which_has_no_place_for_it(aakit: Command, runs: Path) -> None:
    (runs / "ablation.json").write_text(json.dumps({"variants": ["plain", "better", "absent"]}))
    ran = aakit("compare", runs, "--format", "csv")
    assert ran.code == 0 and "absent" not in ran.out
    assert ran.err == f"note: {runs / 'absent'}: no finished run, left out\n"


def test_the_table_has_the_verdict_in_words(aakit: Command, runs: Path) -> None:
    before = contents(runs)
    ran = aakit("compare", runs / "plain", runs / "better")
    assert (ran.code, ran.err) == (0, "")
    assert "pixel AUROC" in ran.out
    row, verdict = (line for line in ran.out.splitlines() if line.startswith(("better  ", "better:")))
    assert "+0.1000" in row and len(row) <= 80
    assert verdict.startswith("better: higher by 0.1000 (0.1000 to 0.1000), 5 of 5 seeds")
    assert "seeds higher: 5 of 5, p 0.062" in " ".join(ran.out.split())
    assert contents(runs) == before, "nothing is written without --out"


def test_an_ablation_folder_is_named_alone_and_the_baseline_chosen(aakit: Command, runs: Path) -> None:
    ran = aakit("compare", runs, "--baseline", "plain", "--json", "--metric", "pixel_auroc", "--loop", 1)
    found = json.loads(ran.out)
    assert (found["baseline"], found["loop"], found["metrics"]) == ("plain", 1, ["pixel_auroc"])
    assert found["differences"]["better"]["pixel_auroc"]["verdict"]["kind"] == "shown"


def test_out_gets_all_three_forms(aakit: Command, runs: Path, place: Path) -> None:
    ran = aakit("compare", runs, "--out", "deep/out")
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in (place / "deep" / "out").iterdir()) == [
        "comparison.html", "comparison.json", "comparison.md",
    ]  # fmt: skip
    assert "deep/out/comparison.html" in ran.out


def test_a_table_for_a_paper_is_printed_alone_and_written_with_its_plots(aakit: Command, runs: Path) -> None:
    ran = aakit("compare", runs, "--format", "latex", "--out", runs / "paper")
    assert ran.code == 0 and ran.out == (runs / "paper" / "table.tex").read_text() and "written: " in ran.err
    assert {path.suffix for path in (runs / "paper").iterdir()} == {".tex", ".pdf", ".svg"}
    assert_plain(aakit("compare", runs, "--format", "latex", "--out", runs / "paper"))


def test_bad_input_is_one_plain_message(aakit: Command, runs: Path) -> None:
    for arguments, said in (
        ((runs, "--baseline", "worse"), "there is no run called 'worse'"),
        ((runs, "--metric", "pixel_auc"), "did you mean 'pixel_auroc'"),
        ((runs, "--loop", 4), "has no loop 4"),
        ((runs / "none",), "there is no such folder"),
        ((runs / "plain", runs / "plain"), "is named twice"),
        ((runs, "--format", "word"), "there is no form 'word'"),
        ((runs, "--format", "csv", "--json"), "cannot be had with --json"),
    ):
        ran = aakit("compare", *arguments)
        assert_plain(ran)
        assert said in ran.err
