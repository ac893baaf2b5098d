from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aaclip_kit_plugins.folder import register_data_sets

from aaclip_kit import DataSet, UserError, UserErrors

from ..finding import forbidden, touch
from .registered import registered


def read(root: Path, **options: Any) -> DataSet:
    factory, model = registered(register_data_sets)["folder"]
    return factory(model(root=root, **options))


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    return touch(
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
    touch(two_classes, "empty/test/good/.keep", "texts/test/good/a.txt", "texts/test/bent/b.csv")
    with pytest.raises(UserErrors) as caught:
        read(two_classes)
    empty, texts = caught.value.faults
    assert (empty.problem, empty.where) == ("class 'empty' has no images", str(two_classes / "empty"))
    assert texts.problem.startswith("class 'texts' has no images; passed over: 1 .csv (such as ")
    assert "images end in .png" in str(texts.fix)


def test_masks_are_wanted_from_all_images_or_from_none_of_a_class(two_classes: Path) -> None:
    touch(two_classes, "cable/test/cut/1.png", "cable/test/bent/2.png", "metal_nut/test/bent/004.png")
    data = read(two_classes)
    (fault,) = data.faults
    assert (fault.problem, fault.where) == (
        "an anomalous image has no mask",
        str(two_classes / "metal_nut/test/bent/004.png"),
    )
    assert fault.fix == f"put its mask at {two_classes / 'metal_nut/ground_truth/bent/004_mask.png'}"
    bare = [(sample.image.name, sample.label, sample.mask) for sample in data.samples if sample.class_name == "cable"]
    assert bare == [("2.png", 1, None), ("1.png", 1, None)]


def test_what_is_passed_over_is_told_of(two_classes: Path) -> None:
    touch(two_classes, "metal_nut/test/bent/cam1/005.png", "metal_nut/normal/006.png", "flat.png")
    touch(two_classes, "metal_nut/ground_truth/bent/099_mask.png", "bottle/test/.old/1.png", "bottle/scan.dcm")
    _, inside, beside = read(two_classes).notes
    for said in (
        *("1 .txt (such as ", "1 deeper than test/bent (such as ", "2 elsewhere (such as ", "2 hidden (such as "),
        "1 masks without an image of their own (such as ",
    ):
        assert said in inside
    assert ".dcm" not in inside, "only what lies among the images"
    assert "1 folders without a folder test (such as " in beside and "1 beside the classes (such as " in beside
    (inside,) = read(two_classes, classes=["metal_nut"]).notes
    assert "002.png" not in inside and "009.png" not in inside, "images to train on are no news"


def test_whole_data_have_no_notes(tmp_path: Path) -> None:
    touch(tmp_path, "lid/test/good/1.png", "lid/test/dent/2.png", "lid/ground_truth/dent/2_mask.png")
    touch(tmp_path, "lid/train/good/3.png", "lid/readme.txt", "license.txt")
    assert read(tmp_path).notes == ()


def test_a_folder_that_may_not_be_read_is_a_fault(two_classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(two_classes, "lost+found/x")
    paths = [two_classes / name for name in ("metal_nut/test/bent", "extra", "lost+found")]
    forbidden(monkeypatch, *paths)
    data = read(two_classes)
    assert [fault.where for fault in data.faults] == [str(paths[1]), str(paths[0])]
    assert all("Permission denied" in fault.problem and fault.fix for fault in data.faults)
    assert any("1 lost+found" in note for note in data.notes)
    assert [fault.where for fault in read(two_classes, classes=["metal_nut"]).faults] == [str(paths[0])]


def test_masks_that_may_not_be_read_are_not_called_missing(two_classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = two_classes / "metal_nut" / "ground_truth" / "bent"
    forbidden(monkeypatch, masks)
    assert [(fault.where, fault.problem) for fault in read(two_classes).faults] == [
        (str(masks), "cannot be read (Permission denied)")
    ]


@pytest.mark.parametrize("among", ["test/bent/003_mask.bmp", "test/good/001_mask.png"])
def test_a_mask_among_the_images_is_not_taken_for_one(two_classes: Path, among: str) -> None:
    touch(two_classes / "metal_nut", among)
    found = read(two_classes)
    (fault,) = found.faults
    assert fault.where == str(two_classes / "metal_nut" / among)
    assert fault.problem == f"is named as the mask of {Path(among).stem[:3]}.png, and lies among the images"
    assert len(found.samples) == 4


def test_class_names_are_compared_with_their_letters_in_one_piece(tmp_path: Path) -> None:
    whole, apart = "d\u00e9", "de\u0301"
    touch(tmp_path, f"{apart}/test/good/1.png")
    assert read(tmp_path, classes=[whole], real_names={apart: "thimble"}).real_names == {whole: "thimble"}
    assert read(tmp_path / apart).classes == (whole,)
    touch(tmp_path, f"{whole}/test/good/1.png")
    data = read(tmp_path)
    assert [fault.problem.split(",")[0] for fault in data.faults] == [f"has the same name as {tmp_path / apart}"]
    assert [sample.image for sample in data.samples] == [tmp_path / apart / "test/good/1.png"]


def test_a_second_mask_of_an_image_is_told_of(tmp_path: Path) -> None:
    touch(tmp_path, "lid/test/dent/1.png", "lid/ground_truth/dent/1_mask.bmp", "lid/ground_truth/dent/1_mask.png")
    data = read(tmp_path)
    assert [sample.mask for sample in data.samples] == [tmp_path / "lid/ground_truth/dent/1_mask.bmp"]
    assert "1 masks without an image of their own (such as " in data.notes[-1]


def test_the_mask_of_a_normal_image_is_given_where_it_is_there(two_classes: Path) -> None:
    name = next(iter((two_classes / "metal_nut" / "test" / "good").iterdir())).name
    mask = two_classes / "metal_nut" / "ground_truth" / "good" / f"{Path(name).stem}_mask.png"
    mask.parent.mkdir(parents=True)
    mask.touch()
    samples = read(two_classes, classes=["metal_nut"]).samples
    assert {sample.image.name: sample.mask for sample in samples if not sample.label}[name] == mask
    assert sum(sample.mask is not None for sample in samples if not sample.label) == 1


@pytest.mark.parametrize("masked", [True, False])
def test_normal_images_in_a_folder_of_another_name(tmp_path: Path, masked: bool) -> None:
    touch(tmp_path, "lid/test/OK/1.png", "lid/test/NG/2.png", *(["lid/ground_truth/NG/2.png"] if masked else []))
    data = read(tmp_path)
    said = "normal images lie in test/good; found test/NG, test/OK"
    assert data.notes[0] == f"class 'lid' has no normal images: {said}"
    assert [str(fault.fix).startswith(f"{said}; rename the folder") for fault in data.faults] == [True] * masked


def test_several_masks_of_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "lid/test/good/0.png", "lid/test/loose/000.png")
    touch(tmp_path, *(f"lid/ground_truth/loose/000/00{number}.png" for number in range(2)))
    (fault,) = read(tmp_path).faults
    masks = tmp_path / "lid/ground_truth/loose"
    assert fault.fix == f"unite the masks in {masks / '000'} in one, {masks / '000_mask.png'}"


def test_a_class_is_called_as_its_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "store/3fa9/test/good/1.png")
    (tmp_path / "lid").symlink_to(tmp_path / "store" / "3fa9")
    assert read(tmp_path / "lid").classes == ("lid",)
    monkeypatch.chdir(tmp_path / "store" / "3fa9")
    assert read(Path()).classes == ("3fa9",)


def test_classes_that_are_not_chosen_may_be_faulty(two_classes: Path) -> None:
    touch(two_classes, "cable/test/good/.keep")
    assert read(two_classes, classes=["bottle"]).classes == ("bottle",)
