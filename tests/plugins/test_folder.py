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


def test_all_faults_at_once(two_classes: Path) -> None:
    make(two_classes, "empty/test/good/.keep", "cable/test/cut/1.png", "cable/test/cut/2.png", "cable/test/cut/3.png")
    with pytest.raises(UserErrors) as caught:
        read(two_classes, classes=["empty", "cable", "metal_nuts"], real_names={"botle": "x"})
    problems = [str(fault) for fault in caught.value.faults]
    assert len(problems) == 4
    assert "no class 'metal_nuts'" in problems[0]
    assert "did you mean 'metal_nut'?" in problems[0]
    assert "did you mean 'bottle'?" in problems[1]
    assert "no mask, and 2 more" in problems[2]
    assert str(two_classes / "cable/test/cut/1.png") in problems[2]
    assert "1_mask.png" in problems[2]
    assert "has no images" in problems[3]
    assert str(two_classes / "empty") in problems[3]


def test_classes_that_are_not_chosen_may_be_faulty(two_classes: Path) -> None:
    make(two_classes, "cable/test/cut/1.png")
    assert read(two_classes, classes=["bottle"]).classes == ("bottle",)
