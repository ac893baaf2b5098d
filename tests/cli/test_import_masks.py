"""`aakit data import`: what is printed, what is refused, and that data set manifest reads what is written."""

from __future__ import annotations

import json
import signal
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..annotations.given import LABELS, SCRATCH, SQUARE, coco, coloured, cvat, images, square, written
from ..command import Command
from .conftest import assert_plain, contents


@pytest.fixture
def told(place: Path) -> list[object]:
    """The command's arguments for two images, one with a mark and one with none."""
    images(place / "photos", "a.png", "b.png")
    file = written(place / "coco.json", coco([SQUARE], [[1, 1, 5, 5]], names=["a.png", "b.png"]))
    return ["data", "import", file.name, "--images", "photos", "--out", "parts", "--class", "lid"]


def test_the_counts_the_labels_and_what_was_noticed_are_printed(
    aakit: Command, place: Path, told: list[object]
) -> None:
    ran = aakit(*told, "--empty", "normal")
    assert (ran.code, ran.err) == (0, "")
    for line in (
        "COCO: 1 anomalous images with masks, 1 normal",
        "label       scratch: 2 marks, which count as a defect",
        "note        1 images on which nothing is marked count as normal, as --empty says; the first is photos/b.png",
        'wrote parts; to use it: use = "manifest", manifest = "parts/list.jsonl"',
    ):
        assert line in ran.out.splitlines()
    assert "note        1 marks hold no pixel's middle" in ran.out
    assert sorted(contents(place / "parts")) == [
        "images", "images/a.png", "images/b.png", "list.jsonl", "masks", "masks/a.png.png",
    ]  # fmt: skip
    checked = aakit("data", "check", "parts/list.jsonl")
    assert checked.code == 0 and "manifest: no faults" in checked.out


def test_what_is_to_be_decided_is_one_message_each_and_nothing_is_written(
    aakit: Command, place: Path, told: list[object]
) -> None:
    before = contents(place)
    ran = aakit(*told[:-2])
    assert_plain(ran, messages=2)
    assert "error: --class: what the images show is not said" in ran.err
    assert "fix: say --empty normal or skip" in ran.err and contents(place) == before


def test_of_many_bad_images_the_first_are_named_and_skipping_goes_on(
    aakit: Command, place: Path, told: list[object]
) -> None:
    written(place / "coco.json", coco([SQUARE], names=["a.png", *(f"{number}.jpg" for number in range(15))]))
    ran = aakit(*told, "--unannotated", "skip")
    assert_plain(ran, messages=11)
    assert "5 more images cannot be used, 15 in all" in ran.err and "--on-bad-image skip goes on" in ran.err
    ran = aakit(*told, "--unannotated", "skip", "--on-bad-image", "skip")
    assert ran.code == 0 and ran.out.count("skipped     ") == 15


def test_labels_say_what_became_of_them(aakit: Command, place: Path, told: list[object]) -> None:
    labels = LABELS + "dust:1,1,1::\n"
    mask = coloured((~square(), (1, 1, 1)), (square(), SCRATCH))
    cvat(place / "masks.zip", {"a": mask, "b": coloured((square(), SCRATCH))}, labels=labels)
    told[2] = "masks.zip"
    ran = aakit(*told, "--defect", "scratch", "--ignore", "dust")
    assert ran.code == 0 and "dust: 1 marks, which count as ignored" in ran.out
    rows = [json.loads(line) for line in (place / "parts/list.jsonl").read_text().splitlines()]
    assert [row.get("ignore") for row in rows] == [128, None]
    told[6] = "others"
    assert "dust: 1 marks, which count as nothing" in aakit(*told, "--defect", "scratch").out


def test_two_classes_at_once_are_refused(aakit: Command, told: list[object]) -> None:
    assert_plain(aakit(*told, "--class-of-folder"))


@pytest.mark.slow
def test_what_is_imported_is_trained_on_and_tested(aakit: Command, place: Path, small_experiment: Path) -> None:
    """Two folders of four photographs each, of which the first two have marks: one trains, the other is tested on."""
    for part, seed in (("seen", 1), ("new", 2)):
        names, random = [f"{number}.png" for number in range(4)], np.random.default_rng(seed)
        (place / part).mkdir()
        for name in names:
            Image.fromarray(random.integers(0, 255, (*square().shape, 3), dtype=np.uint8)).save(place / part / name)
        told = coco([SQUARE], names=names)
        told["annotations"].append({**told["annotations"][0], "id": 11, "image_id": 1})
        file = written(place / f"{part}.json", told)
        arguments = ("--out", f"{part}_parts", "--class", part, "--empty", "normal")
        ran = aakit("data", "import", file.name, "--images", part, *arguments)
        assert (ran.code, ran.err) == (0, "")
    tables = {role: f"{part}_parts/list.jsonl" for role, part in (("train", "seen"), ("test", "new"))}
    sets = [f"data.{role}={{ use = 'manifest', manifest = '{file}' }}" for role, file in tables.items()]
    ran = aakit("run", small_experiment, "--out", "run", "--set", sets[0], "--set", sets[1])
    assert (ran.code, ran.err) == (0, "")
    manifest, metrics = (json.loads((place / "run" / name).read_text()) for name in ("manifest.json", "metrics.json"))
    assert manifest["data"]["train"]["counts"] == {"seen": {"normal": 2, "anomalous": 2}}
    assert None not in metrics["loops"][-1]["classes"]["new"].values()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_nothing_is_written(
    aakit: Command, place: Path, told: list[object], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before, made = contents(place), import_module("aaclip_kit.annotations.import_masks")
    own = made._written

    def written_late(*arguments: object) -> object:
        signal.raise_signal(number)
        return own(*arguments)

    monkeypatch.setattr(made, "_written", written_late)
    ran = aakit(*told, "--empty", "normal")
    assert ran.code == 128 + number and "nothing is written" in ran.out and contents(place) == before
