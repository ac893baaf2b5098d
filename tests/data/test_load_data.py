"""The data sets of a run: bad images, shots, and what the manifest and the user are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import UserError, UserErrors
from aaclip_kit.data.checks import BY_LABELS

from ..build import run_file
from ..conftest import write_class
from .given import Loaded, copy_one

pytestmark = pytest.mark.usefixtures("undrawn")


def test_roles_have_sets_prints_records_and_no_notes(loaded: Loaded) -> None:
    found = loaded()
    assert list(found.sets) == list(found.fingerprints) == list(found.records) == ["train", "test"]
    assert found.notes == ()
    for role, print_ in found.fingerprints.items():
        assert found.records[role] == {**print_.as_record(), "notes": []}


# Bad images.


def damage(data: Path, count: int, name: str = "red_cloth") -> list[Path]:
    bad = sorted((data / name / "test").rglob("*.png"))[-count:]
    for image in bad:
        image.write_text("no image")
    return bad


def test_bad_images_of_every_role_are_named_together(loaded: Loaded, data: Path) -> None:
    bad = damage(data, 2) + damage(data, 1, "green_wood")
    with pytest.raises(UserErrors) as caught:
        loaded()
    assert [fault.where for fault in caught.value.faults] == [str(path) for path in bad]


def test_skipped_images_are_counted_named_and_recorded(loaded: Loaded, data: Path) -> None:
    bad = damage(data, 2)
    found = loaded("data.train.on_bad_image=skip")
    assert len(found.sets["train"].samples) == 6
    assert found.records["train"]["count"] == 6
    problem = "cannot be read as an image: what it holds is no image in PNG, JPEG, BMP, TIFF, WebP, GIF or PPM"
    assert found.records["train"]["skipped"] == [{"file": str(path), "problem": problem} for path in bad]
    note = found.notes[0]
    assert note.startswith("data.train: 2 bad images are left out: ")
    assert all(str(path) in note for path in bad)
    assert found.records["train"]["notes"][0] == note.removeprefix("data.train: ")
    assert "skipped" not in found.records["test"]


def test_one_role_may_skip_while_another_stops(loaded: Loaded, data: Path) -> None:
    bad = [*damage(data, 1), *damage(data, 1, "green_wood")]
    with pytest.raises(UserError) as caught:
        loaded("data.train.on_bad_image=skip")
    assert caught.value.where == str(bad[1])


def test_many_skipped_images_are_cut_short_in_the_note_alone(loaded: Loaded, data: Path) -> None:
    write_class(data, "blue", 2, seed=5)
    write_class(data, "sound", 1, seed=6)
    damage(data, 7, "blue")
    damage(data, 7)
    found = loaded("data.train.on_bad_image=skip", "data.train.classes=[red_cloth, blue, sound]")
    assert "14 bad images" in found.notes[0]
    assert " and 4 more" in found.notes[0]
    assert len(found.records["train"]["skipped"]) == 14


def test_nothing_left_is_an_error(loaded: Loaded, data: Path) -> None:
    damage(data, 8)
    with pytest.raises(UserError, match="the data set has no images") as caught:
        loaded("data.train.on_bad_image=skip")
    assert caught.value.where == "data.train"


def test_rows_of_a_manifest_are_refused_or_skipped_alike(loaded: Loaded, data: Path) -> None:
    rows = [{"image_path": f"green_wood/test/good/00{n}.png", "label": 0, "class_name": "green_wood"} for n in range(2)]
    rows += [{**rows[0], "image_path": "gone.png"}, {**rows[1]}]
    (data / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    chosen = ["data.test.use=manifest", f"data.test.manifest={data / 'list.jsonl'}"]
    with pytest.raises(UserErrors) as caught:
        loaded(*chosen)
    assert [str(fault.where).partition(", ")[2] for fault in caught.value.faults] == ["line 3", "line 4"]
    found = loaded(*chosen, "data.test.on_bad_image=skip")
    assert len(found.sets["test"].samples) == 2
    assert len(found.records["test"]["skipped"]) == 2


# Shots.


def test_shots_are_drawn_by_the_seed_and_recorded(loaded: Loaded) -> None:
    shots = "data.train.shots={normal=2, anomalous=1}"
    found = loaded(shots)
    assert [sample.label for sample in found.sets["train"].samples] == [0, 0, 1]
    files = {"red_cloth": [str(sample.image) for sample in found.sets["train"].samples]}
    assert found.records["train"]["shots"] == {"normal": 2, "anomalous": 1, "files": files}
    assert found.records["train"]["counts"] == {"red_cloth": {"anomalous": 1, "normal": 2}}
    assert loaded(shots) == found
    assert len({str(loaded(shots, f"seed={seed}").records["train"]["shots"]) for seed in range(6)}) > 1
    assert len(found.sets["test"].samples) == 8


def test_too_few_images_for_the_shots(loaded: Loaded) -> None:
    with pytest.raises(UserError) as caught:
        loaded("data.train.shots={normal=5, anomalous=1}")
    assert caught.value.where == "data.train.shots.normal"


def test_shots_are_drawn_from_what_is_sound(loaded: Loaded, data: Path) -> None:
    damage(data, 2)
    found = loaded("data.train.on_bad_image=skip", "data.train.shots={normal=4, anomalous=2}")
    assert len(found.sets["train"].samples) == 6


def test_a_run_trains_on_anomalous_images_alone(small_experiment: Path, tmp_path: Path) -> None:
    one = ["scheduler.text_epochs=[1]", "scheduler.image_epochs=[1]", "scheduler.rate_factors=[1.0]"]
    metrics, watcher = run_file(small_experiment, tmp_path / "run", "data.train.shots={normal=0, anomalous=2}", *one)
    assert len(watcher.steps) == 2
    assert metrics["loops"][0]["mean"]["image_auroc"] is not None


# What results cannot say.


def test_test_data_without_masks_run_and_are_noted(loaded: Loaded, data: Path) -> None:
    shutil.rmtree(data / "green_wood" / "ground_truth")
    assert loaded().notes == ("data.test: no masks in green_wood: image-level results only",)


def test_a_run_says_and_records_all_of_it(small_experiment: Path, data: Path, tmp_path: Path) -> None:
    copy_one(data)
    (bad, *_) = damage(data, 1)
    shutil.rmtree(data / "green_wood" / "ground_truth")
    roots = [f"data.train.root={data}", f"data.test.root={data}"]
    chosen = ["data.allow_overlap=true", "data.train.on_bad_image=skip", "data.train.shots={normal=4, anomalous=2}"]
    metrics, _ = run_file(small_experiment, tmp_path / "run", *roots, *chosen)
    record = json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]
    assert record["test"]["overlap_allowed"] is True
    assert record["train"]["skipped"][0]["file"] == str(bad)
    assert len(record["train"]["shots"]["files"]["red_cloth"]) == 6
    assert "no masks in green_wood: image-level results only" in record["test"]["notes"]
    (found,) = metrics["loops"][-1]["classes"].values()
    assert found["pixel_auroc"] is None
    assert found["image_auroc"] is not None


def test_training_by_labels_alone_needs_no_masks(
    loaded: Loaded, small_experiment: Path, data: Path, tmp_path: Path
) -> None:
    shutil.rmtree(data / "red_cloth" / "ground_truth")
    with pytest.raises(UserError, match="4 anomalous images have no mask") as caught:
        loaded()
    assert "losses of whole images alone, such as image_cross_entropy" in str(caught.value.fix)
    detection = '{detection = {use = "image_cross_entropy"}}'
    losses = [f"losses.text={detection}", f"losses.vision={detection}"]
    roots = [f"data.train.root={data}", f"data.test.root={data}"]
    metrics, _ = run_file(small_experiment, tmp_path / "run", *roots, *losses)
    notes = json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]["train"]["notes"]
    assert "no masks in red_cloth: image-level results only" in notes and BY_LABELS in notes
    assert metrics["loops"][-1]["mean"]["image_auroc"] != metrics["before"]["mean"]["image_auroc"]


def test_a_class_of_one_label_is_noted(loaded: Loaded, data: Path) -> None:
    shutil.rmtree(data / "green_wood" / "test" / "good")
    assert loaded().notes == (
        "data.test: class 'green_wood' has no normal images: normal images lie in test/good; found test/spot",
        "data.test: no normal images in green_wood: image AUROC undefined",
    )


def test_black_masks_are_noted(loaded: Loaded, data: Path) -> None:
    Image.new("L", (40, 40)).save(data / "green_wood" / "ground_truth" / "spot" / "001_mask.png")
    (note,) = loaded().notes
    assert note.startswith("data.test: 1 anomalous images have a mask that is all black; the first is ")


def test_a_data_table_names_the_value_that_is_left_out(loaded: Loaded, data: Path) -> None:
    for file in (data / "red_cloth" / "ground_truth").rglob("*.png"):
        mask = np.asarray(Image.open(file).convert("L")) // 255
        Image.fromarray(np.where(np.arange(40) < 3, np.uint8(255), mask)).save(file)
    assert ["more than one value that is not black" in note for note in loaded().notes] == [True]
    found = loaded("data.train.ignore=255")
    assert found.notes == ()
    assert {sample.ignore for sample in found.sets["train"].samples} == {255}
    assert {sample.ignore for sample in found.sets["test"].samples} == {None}
