from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aaclip_kit_plugins.folder import register_data_sets

from aaclip_kit import DataSet, UserError, UserErrors

from .registered import registered


def read(root: Path, **options: Any) -> DataSet:
    factory, model = registered(register_data_sets)["folder"]
    return factory(model(root=root, **options))


def make(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    return make(
        tmp_path / "data",
        *("metal_nut/test/good/001.png", "metal_nut/test/good/000.JPG", "metal_nut/test/bent/003.png"),
        *("metal_nut/ground_truth/bent/003_mask.png", "metal_nut/train/good/009.png", "metal_nut/readme.txt"),
        *("metal_nut/test/good/notes.txt", "metal_nut/test/good/._001.png", "metal_nut/test/stray.png"),
        *("bottle/test/broken/a.jpeg", "bottle/ground_truth/broken/a.png", "license.txt", "extra/other.png"),
    )


def test_reads_every_class_and_ignores_other_files(two_classes: Path) -> None:
    data = read(two_classes)
    seen = [(s.class_name, s.label, s.defect, s.image.name, s.mask and s.mask.name) for s in data.samples]
    assert seen == [
        ("bottle", 1, "broken", "a.jpeg", "a.png"),
        ("metal_nut", 1, "bent", "003.png", "003_mask.png"),
        ("metal_nut", 0, None, "000.JPG", None),
        ("metal_nut", 0, None, "001.png", None),
    ]
    assert data.real_names == {"bottle": "bottle", "metal_nut": "metal nut"}
    assert data.domain == "industrial"


def test_options_choose_classes_names_and_domain(two_classes: Path) -> None:
    names = {"metal_nut": "metal nut which has four notched edges"}
    data = read(two_classes, classes=["metal_nut"], real_names=names, domain="medical")
    assert data.classes == ("metal_nut",)
    assert data.real_names == names
    assert data.domain == "medical"


def test_a_root_may_be_one_class(two_classes: Path) -> None:
    data = read(two_classes / "metal_nut")
    assert data.classes == ("metal_nut",)
    assert len(data.samples) == 3


def test_a_missing_and_a_classless_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder") as caught:
        read(tmp_path / "nowhere")
    assert "nowhere" in str(caught.value)
    with pytest.raises(UserError, match="no class in this folder"):
        read(tmp_path)


def test_unknown_classes_are_named_with_the_nearest(two_classes: Path) -> None:
    with pytest.raises(UserErrors) as caught:
        read(two_classes, classes=["metal_nuts"], real_names={"botle": "x"})
    problems = [str(fault) for fault in caught.value.faults]
    assert len(problems) == 2
    assert "no class 'metal_nuts'" in problems[0]
    assert "did you mean 'metal_nut'?" in problems[0]
    assert "did you mean 'bottle'?" in problems[1]


def test_a_class_without_images_and_one_of_text_files(two_classes: Path) -> None:
    make(two_classes, "empty/test/good/.keep", "texts/test/good/a.txt", "texts/test/bent/b.csv")
    with pytest.raises(UserErrors) as caught:
        read(two_classes)
    empty, texts = caught.value.faults
    assert (empty.problem, empty.where) == ("class 'empty' has no images", str(two_classes / "empty"))
    assert texts.problem == "class 'texts' has no images, but 2 other files, such as b.csv"
    assert "images end in .png" in str(texts.fix)


def test_masks_are_wanted_from_all_images_or_from_none_of_a_class(two_classes: Path) -> None:
    make(two_classes, "cable/test/cut/1.png", "cable/test/bent/2.png", "metal_nut/test/bent/004.png")
    data = read(two_classes)
    (fault,) = data.faults
    assert (fault.problem, fault.where) == (
        "an anomalous image has no mask",
        str(two_classes / "metal_nut/test/bent/004.png"),
    )
    assert fault.fix == f"put its mask at {two_classes / 'metal_nut/ground_truth/bent/004_mask.png'}"
    bare = [(sample.image.name, sample.label, sample.mask) for sample in data.samples if sample.class_name == "cable"]
    assert bare == [("2.png", 1, None), ("1.png", 1, None)]


def test_files_that_are_no_images_are_told_of(two_classes: Path) -> None:
    (note,) = read(two_classes).notes
    assert note.startswith("1 files do not end as images do and are passed over, such as ")
    assert note.endswith("notes.txt")
    (two_classes / "metal_nut/test/good/notes.txt").unlink()
    assert read(two_classes).notes == ()


def test_classes_that_are_not_chosen_may_be_faulty(two_classes: Path) -> None:
    make(two_classes, "cable/test/good/.keep")
    assert read(two_classes, classes=["bottle"]).classes == ("bottle",)
