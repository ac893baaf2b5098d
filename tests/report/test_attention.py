from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit.report.attention_section import StageView, section, word_bars
from aaclip_kit.report.figures import Budget
from aaclip_kit.report.run_files import RunFiles

from .folders import NASTY, new_folder, read


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    return RunFiles(new_folder(tmp_path / "run").path)


def stages(run: RunFiles) -> list[StageView]:
    return section(run, Budget())["stages"]


def test_a_stage_that_looks_at_patches_has_overlays_on_one_scale_best_case_first(run: RunFiles) -> None:
    seeing = stages(run)[0]
    assert seeing.name == "seeing, after block 0 of the text tower"
    assert seeing.scale == ("0.50", "1.50")
    assert [look.title for look in seeing.looks] == [
        "best anomalous image: tile, crack, 1.png",
        "median and worst anomalous image: wood, anomalous, 3.png",
    ]
    panels = seeing.looks[0].panels
    assert [panel.caption for panel in panels] == ["mask", "normal prompts", "abnormal prompts"]
    assert panels[1].picture is not None
    assert panels[1].picture.alt.endswith("the least 0.50, the most, 1.50, in row 2, column 2 of 2")


def test_a_stage_that_looks_at_words_has_bars_by_what_the_defect_looks_at_most(run: RunFiles) -> None:
    (look,) = stages(run)[1].looks
    assert look.groups == ("anomalous patches", "other patches")
    assert [(bar.word, bar.values) for bar in look.bars] == [
        (NASTY, (("2.00", 1.0), ("1.00", 0.5))),
        ("photo", (("0.50", 0.25), ("1.50", 0.75))),
    ]
    assert [(bar.word, bar.values) for bar in look.states] == [
        ("normal prompts", (("1.00", 0.5), ("1.00", 0.5))),
        ("abnormal prompts", (("1.00", 0.5), ("1.00", 0.5))),
    ]
    assert look.even == 0.5
    assert look.left_out == 0


def test_many_words_are_cut_and_counted(run: RunFiles) -> None:
    assert run.attention is not None
    words = {str(number): 1.0 + number / 100 for number in range(20)}
    run.attention["stages"][1]["cases"][0]["looks"] = {
        "all patches": {"words": words, "states": {"normal prompts": 1.0}}
    }
    (look,) = stages(run)[1].looks
    assert [bar.word for bar in look.bars] == [str(number) for number in range(19, 7, -1)]
    assert look.left_out == 8


def test_bars_of_one_group() -> None:
    assert [bar.values for bar in word_bars({"all patches": {"a": 0.5, "b": 1.0}}, 2.0)] == [
        (("1.00", 0.5),), (("0.50", 0.25),),
    ]  # fmt: skip


def test_a_stage_that_does_not_say_is_named_with_the_reason(run: RunFiles) -> None:
    page = read(new_folder(run.folder.parent / "again"))[1]
    assert "silent, after block 1 of the vision tower Left out: it has no <i>words</i>." in page.text
    assert 'Stages of the text tower act in training only (evaluation.text_conditioning = "none").' in page.text


def test_a_run_whose_stages_attend_to_nothing_says_so(run: RunFiles) -> None:
    again = new_folder(run.folder.parent / "again")
    again.write_attention({"stages": []})
    assert "Left out: no stage of this run attends to anything." in read(again)[1].text
