"""What is said of data: faults that stop a run, and remarks on what its results cannot say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from aaclip_kit import DataSet, Sample, UserError
from aaclip_kit.data.checks import (
    BY_LABELS,
    MOST_SHOWN,
    ONE_SIDED,
    class_counts,
    remarks,
    shown,
    training_limits,
    unnamed,
    unshowable,
    untrainable,
)
from aaclip_kit.data.scan import scan_dataset

from .given import data_set


def without_masks(data: DataSet, names: tuple[str, ...] | None = None) -> DataSet:
    bare = [replace(s, mask=None) if names is None or s.image.name in names else s for s in data.samples]
    return replace(data, samples=tuple(bare))


def said(data: DataSet) -> list[str]:
    return remarks(scan_dataset(data))


def test_of_good_data_nothing_is_said(root: Path) -> None:
    data = data_set(root)
    assert said(data) == []
    assert untrainable(data, "data.train") == unnamed(data, "data.train") == []
    assert class_counts(data.samples) == {"cloth": (4, 4)}


@pytest.mark.parametrize(
    ("label", "line"),
    [
        (1, "no normal images in cloth: image AUROC undefined"),
        (0, "no anomalous images in cloth: results undefined"),
    ],
)
def test_a_class_with_one_label(root: Path, label: int, line: str) -> None:
    data = data_set(root)
    assert said(replace(data, samples=tuple(s for s in data.samples if s.label == label))) == [line]


def test_masks_that_are_missing_or_black(root: Path) -> None:
    data = data_set(root)
    assert said(without_masks(data)) == ["no masks in cloth: image-level results only"]
    (partly,) = said(without_masks(data, ("001.png", "003.png")))
    assert partly.startswith("2 anomalous images lack a mask that others of their class have")
    assert partly.endswith(f"the first is {root / 'test/spot/001.png'}")
    Image.new("L", (40, 40)).save(root / "ground_truth" / "spot" / "002_mask.png")
    (black,) = said(data)
    assert black == f"1 anomalous images have a mask that is all black; the first is {root / 'test/spot/002.png'}"


def test_an_image_that_is_there_twice(root: Path) -> None:
    shutil.copy(root / "test/good/001.png", root / "test/spot/002.png")
    again, opposed = said(data_set(root))
    assert again == f"1 images are there a second time; the first is {root / 'test/spot/002.png'}"
    assert opposed.startswith("1 pictures are normal in one file and anomalous in another; the first is")
    assert opposed.endswith(f"{root / 'test/good/001.png'} and {root / 'test/spot/002.png'}")


def test_a_picture_that_is_there_twice_in_another_file_or_nearly(root: Path) -> None:
    picture = Image.open(root / "test/good/001.png")
    picture.save(root / "test/good/zz.bmp")
    picture.save(root / "test/good/zzz.jpg", quality=95)
    again, near = said(data_set(root))
    assert again == f"1 images are there a second time; the first is {root / 'test/good/zz.bmp'}"
    assert near == f"1 images look like copies of others: {root / 'test/good/001.png'} = {root / 'test/good/zzz.jpg'}"


def test_a_name_longer_than_any_screen_is_refused(root: Path) -> None:
    (fault,) = unshowable(data_set(root, "x" * 60_000), "data.test")
    assert fault.problem.endswith("has 60,000 characters") and len(fault.problem) < 200
    assert unshowable(data_set(root, "x" * 200), "data.test") == []


def test_notes_of_the_data_set_come_first(root: Path) -> None:
    data = replace(without_masks(data_set(root)), notes=("one file is odd",))
    assert said(data) == ["one file is odd", "no masks in cloth: image-level results only"]


def test_training_needs_anomalous_images(root: Path) -> None:
    data = data_set(root)
    normal = replace(data, samples=tuple(sample for sample in data.samples if not sample.label))
    (fault,) = untrainable(normal, "data.train")
    assert fault.problem.startswith(f"none of its {len(normal.samples)} images is anomalous") and fault.fix
    anomalous = replace(data, samples=tuple(sample for sample in data.samples if sample.label))
    assert training_limits(anomalous) == [ONE_SIDED] and training_limits(data) == training_limits(normal) == []


def test_training_needs_masks(root: Path) -> None:
    (fault,) = untrainable(without_masks(data_set(root)), "data.train")
    assert fault.problem.startswith("4 anomalous images have no mask, the first is ")
    assert fault.problem.endswith("000.png")
    assert (fault.where, bool(fault.fix)) == ("data.train", True)


def test_losses_of_whole_images_need_no_masks_but_both_labels(root: Path) -> None:
    bare = without_masks(data_set(root))
    assert untrainable(bare, "data.train", by_masks=False) == []
    assert training_limits(bare, by_masks=False) == [BY_LABELS]
    anomalous = replace(bare, samples=tuple(sample for sample in bare.samples if sample.label))
    (fault,) = untrainable(anomalous, "data.train", by_masks=False)
    assert fault.problem.startswith("all of its 4 images are anomalous") and fault.fix


def test_every_class_needs_a_real_name() -> None:
    data = DataSet((Sample(Path("a"), "a", 0), Sample(Path("b"), "b", 0)), {"b": "b"})
    (fault,) = unnamed(data, "data.test")
    assert fault.problem == "the data set gives no real name for its class 'a'"


def test_many_faults_are_cut_short_with_their_number() -> None:
    faults = [UserError("is bad", where=str(number)) for number in range(MOST_SHOWN + 7)]
    assert shown(faults[:MOST_SHOWN], "data.test") == faults[:MOST_SHOWN]
    cut = shown(faults, "data.test")
    assert cut[:-1] == faults[:MOST_SHOWN]
    assert (cut[-1].where, cut[-1].problem) == ("data.test", "and 7 more, 17 in all")
    assert "on_bad_image" in str(cut[-1].fix)
