"""`aakit gradients`: what it prints and leaves, and what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from aaclip_kit.studies.gradient_dilution import dilution_svg

from ..command import Command, Ran
from .conftest import assert_plain, contents

QUICK = ("--batches", 1, "--inits", 1, "--scales", "1.0,0.1")
SETTINGS = 2 * 2 + 2 * 2 * 2


def test_tables_numbers_plot_and_experiment(aakit: Command, place: Path, small_experiment: Path) -> None:
    ran = aakit("gradients", small_experiment, *QUICK[:2], "--inits", 2, "--scales", "1.0,0.1")
    assert ran.code == 0, ran.err
    (folder,) = (place / "runs").iterdir()
    assert folder.name.startswith("small-gradients-")
    assert {path.name for path in folder.iterdir()} == {"gradients.json", "gradients.svg", "experiment.toml"}
    record = json.loads((folder / "gradients.json").read_text())
    assert record["seeds"] == [3, 4]
    assert len(record["measured"]) == SETTINGS
    for measured in record["measured"]:
        ratio = measured["ratio"]["all"]
        off = record["towers"][measured["tower"]]["off"]["all"]
        expected = [on[0] / without[0] for on, without in zip(measured["on"]["all"], off, strict=True)]
        assert ratio["by_init"] == pytest.approx(expected)
        assert ratio["low"] <= ratio["value"] <= ratio["high"]
        assert f"{ratio['value']:.3f}" in ran.out
    assert sum(measured["as_in_file"] for measured in record["measured"]) == 2
    for words in ("text_to_image: gradient norm of the text", "image_to_text: gradient norm of the vision", "block 2"):
        assert words in ran.out
    again = aakit("gradients", folder / "experiment.toml", *QUICK[:2], "--inits", 2, "--scales", "1.0,0.1", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out) == record, "the experiment that it leaves gives the same numbers"


def test_the_plot_names_every_line_and_both_reported_figures(
    aakit: Command, place: Path, small_experiment: Path
) -> None:
    ran = aakit("gradients", small_experiment, *QUICK, "--out", place / "out", "--json")
    record = json.loads(ran.out)
    assert "numbers and plot" in ran.err
    drawn = ET.parse(place / "out" / "gradients.svg").getroot()
    words = " ".join(text for element in drawn.iter() for text in [element.text or ""])
    for label in ("not norm-matched, raw context", "norm-matched, unit context", "reported, unpaired runs"):
        assert label in words
    assert (place / "out" / "gradients.svg").read_text() == dilution_svg(record)


def test_a_setting_of_the_file_is_measured_whatever_the_scales(
    aakit: Command, place: Path, small_experiment: Path
) -> None:
    options = ("--set", "model.text_context=raw", "--set", "stages.image_to_text.scale=0.7")
    ran = aakit("gradients", small_experiment, *QUICK, "--out", place / "out", "--json", *options)
    own = [measured for measured in json.loads(ran.out)["measured"] if measured["as_in_file"]]
    assert [(one["tower"], one["scale"], one["text_context"]) for one in own] == [
        ("text", 0.1, None),
        ("vision", 0.7, "raw"),
    ]


@pytest.fixture
def refuses(aakit: Command, place: Path, small_experiment: Path) -> Callable[..., Ran]:
    """Measure with these arguments: one plain message with its fix, code 2, nothing written."""

    def measure(*arguments: object) -> Ran:
        ran = aakit("gradients", small_experiment, "--out", place / "out", *arguments)
        assert_plain(ran)
        assert contents(place) == {}
        return ran

    return measure


BAD = {
    "scales that are no numbers": (("--scales", "1.0,much"), "--scales: '1.0,much' is no list of numbers"),
    "no scales": (("--scales", ""), "--scales: '' is no list of numbers"),
    "negative scale": (("--scales", "0.1,-1"), "--scales: stages.text_to_image.scale"),
    "scale that is not finite": (("--scales", "nan"), "--scales: stages.text_to_image.scale"),
    "no batches": (("--batches", "0"), "--batches: 0 is too few"),
    "no initialisations": (("--inits", "-1"), "--inits: -1 is too few"),
    "unknown key": (("--set", "model.text_contxt=raw"), "model.text_contxt: unknown key"),
    "unknown form of the text context": (("--set", "model.text_context=long"), "model.text_context"),
    "negative floor": (("--set", "training.adapter_gradient_floor=-1.0"), "training.adapter_gradient_floor"),
    "no such checkpoint": (("--set", "init.checkpoint=none.safetensors"), "there is no such checkpoint"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(refuses: Callable[..., Ran], arguments: tuple[str, ...], message: str) -> None:
    assert message in refuses(*arguments).err


def test_a_file_without_cross_attention_is_refused(refuses: Callable[..., Ran], small_experiment: Path) -> None:
    text = small_experiment.read_text()
    start, end = text.index("[stages.text_to_image]"), text.index("[stages.text_adapter]")
    small_experiment.write_text(text[:start] + text[end:])
    assert "nothing to measure" in refuses().err


def test_a_folder_that_holds_something_is_left_alone(aakit: Command, place: Path, small_experiment: Path) -> None:
    (place / "out").mkdir()
    (place / "out" / "gradients.json").write_text("mine")
    ran = aakit("gradients", small_experiment, *QUICK, "--out", place / "out")
    assert_plain(ran)
    assert contents(place / "out") == {"gradients.json": b"mine"}


def test_the_folder_worked_in_is_refused_before_anything_is_measured(
    aakit: Command, place: Path, small_experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aaclip_kit.studies.gradient_dilution.measure_dilution", None)
    ran = aakit("gradients", small_experiment, *QUICK, "--out", ".")
    assert_plain(ran)
    assert "is the folder that you are in" in ran.err
