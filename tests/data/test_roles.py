"""What two roles may not share, and what is said and recorded where they may."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from aaclip_kit import UserError

from ..conftest import write_class
from .given import Loaded, copy_one


def test_a_shared_image_is_refused_or_allowed_and_said(loaded: Loaded, data: Path) -> None:
    copy_one(data)
    with pytest.raises(UserError, match=r"data\.train and data\.test share 1 images by content") as caught:
        loaded()
    assert caught.value.where == "data.train / data.test"
    assert "allow_overlap" in str(caught.value.fix)
    found = loaded("data.allow_overlap=true")
    assert (found.records["test"]["overlap_allowed"], found.records["test"]["shared_images"]) == (True, 1)
    assert "overlap_allowed" not in found.records["train"]
    (note,) = found.notes
    assert note.startswith("data.test: allow_overlap is set: data.train and data.test share 1 images by content: ")
    assert "zzz.png" in note


@pytest.mark.parametrize("name", ["zzz.png", "zzz.bmp", "zzz.tiff"])
def test_a_shared_picture_is_refused_in_another_file_too(loaded: Loaded, data: Path, name: str) -> None:
    picture = Image.open(data / "red_cloth/test/good/000.png")
    # BMP and TIFF pass over what is PNG's.
    picture.save(data / "green_wood/test/good" / name, compress_level=0)
    with pytest.raises(UserError, match=r"data\.train and data\.test share 1 images by content: .*000.png = .*zzz"):
        loaded()
    assert loaded("data.allow_overlap=true").records["test"]["shared_images"] == 1


def test_pictures_that_differ_where_no_pixel_is_looked_at_are_not_shared(loaded: Loaded, data: Path) -> None:
    picture = Image.open(data / "red_cloth/test/good/000.png").resize((600, 600))
    picture.save(data / "red_cloth/test/good/big.png")
    picture.putpixel((0, 0), (1, 2, 3))
    picture.save(data / "green_wood/test/good/big.png")
    found = loaded()
    assert "shared_images" not in found.records["test"]
    assert any(note.startswith("data.test: near copies: 1 images look like copies of") for note in found.notes)


def test_near_copies_are_noted_with_all_pairs(loaded: Loaded, data: Path) -> None:
    pairs: list[list[str]] = []
    for number in range(4):
        image = data / f"red_cloth/test/good/00{number}.png"
        copy = data / f"green_wood/test/good/copy{number}.jpg"
        Image.open(image).save(copy, quality=95)
        pairs.append([str(image), str(copy)])
    found = loaded()
    assert found.records["test"]["near_copies"] == pairs
    (note,) = found.notes
    assert note.startswith("data.test: near copies: 4 images look like copies of those of data.train, saved anew")
    assert note.count(" = ") == 3


@pytest.mark.parametrize("role", ["validation", "calibration"])
@pytest.mark.parametrize(("other", "name"), [("train", "red_cloth"), ("test", "green_wood")])
def test_validation_and_calibration_are_looked_at_for_leakage_too(
    loaded: Loaded, data: Path, role: str, other: str, name: str
) -> None:
    write_class(data, "third", 2, seed=7)
    shutil.copy(data / name / "test/good/001.png", data / "third/test/good/zzz.png")
    chosen = [f"data.{role}.use=folder", f"data.{role}.root={data}", f"data.{role}.classes=[third]"]
    with pytest.raises(UserError, match="share 1 images by content") as caught:
        loaded(*chosen)
    assert {f"data.{role}", f"data.{other}"} == set(str(caught.value.where).split(" / "))


def test_calibration_images_may_not_be_those_of_validation(loaded: Loaded, data: Path) -> None:
    write_class(data, "third", 2, seed=7)
    chosen = [f"data.{role}.{key}" for role in ("validation", "calibration") for key in (
        "use=folder", f"root={data}", "classes=[third]")]  # fmt: skip
    with pytest.raises(UserError, match=r"data\.validation and data\.calibration share 8 images by content"):
        loaded(*chosen)


def test_masks_may_be_shared(loaded: Loaded, data: Path) -> None:
    masks = [data / name / "ground_truth/spot/000_mask.png" for name in ("red_cloth", "green_wood")]
    assert masks[0].read_bytes() == masks[1].read_bytes()
    loaded()


def test_images_shared_with_two_roles_count_once(loaded: Loaded, data: Path) -> None:
    copy_one(data)
    write_class(data, "third", 2, seed=7)
    shutil.copy(data / "green_wood/test/good/zzz.png", data / "third/test/good/yyy.png")
    shutil.copy(data / "green_wood/test/good/001.png", data / "third/test/good/xxx.png")
    validation = ["data.validation.use=folder", f"data.validation.root={data}", "data.validation.classes=[third]"]
    found = loaded("data.allow_overlap=true", *validation)
    assert found.records["validation"]["shared_images"] == 1
    assert found.records["test"]["shared_images"] == 2


def test_the_same_data_set_in_two_roles_is_refused_even_without_a_shared_image(loaded: Loaded, data: Path) -> None:
    """Shots can make the same folder differ in content."""
    same = [f"data.{role}.classes=[red_cloth]" for role in ("train", "test")]
    shots = ["data.train.shots={normal=0, anomalous=4}", "data.test.shots={normal=4, anomalous=0}"]
    with pytest.raises(UserError, match="are the same data set with the same options"):
        loaded(*same, *shots)
    found = loaded(*same, *shots, "data.allow_overlap=true")
    assert (found.records["test"]["overlap_allowed"], found.records["test"]["shared_images"]) == (True, 0)


def test_a_public_data_set_may_not_have_two_roles(loaded: Loaded, data: Path) -> None:
    for folder, name in (("red_cloth", "tubes"), ("green_wood", "connector")):
        (data / folder).rename(data / name)
    public = [f"data.{role}.use=mpdd" for role in ("train", "test")]
    public += ["data.train.classes=[tubes]", "data.test.classes=[connector]"]
    with pytest.raises(UserError, match=r"data\.train and data\.test are both the data set mpdd"):
        loaded(*public)
    assert loaded(*public, "data.allow_overlap=true").records["test"]["shared_images"] == 0


def test_classes_that_roles_share_are_noted(loaded: Loaded, data: Path) -> None:
    write_class(data.parent / "other", "red_cloth", 0, seed=9)
    found = loaded(f"data.test.root={data.parent / 'other'}", "data.test.classes=[red_cloth]")
    assert "data.test: not zero-shot: data.train has classes of the same name: red_cloth" in found.notes
