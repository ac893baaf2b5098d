"""What a mask may look like: JPEG, inverted, turned, in several values, with pixels that are left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from aaclip_kit import DataSet, Sample, UserError
from aaclip_kit.data.checks import remarks
from aaclip_kit.data.decode import IGNORED, open_mask
from aaclip_kit.data.decoded import read_mask
from aaclip_kit.data.scan import scan_dataset

SQUARE = np.zeros((40, 40), np.uint8)
SQUARE[10:20, 12:30] = 255


def sample(folder: Path, mask: np.ndarray | Image.Image, name: str = "m.png", **options: Any) -> Sample:
    """A normal-looking image of noise of its own beside the mask."""
    noise = np.random.default_rng(len(list(folder.iterdir()))).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / f"image_{name}.png")
    picture = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    picture.save(folder / name, **options)
    return Sample(folder / f"image_{name}.png", "thing", 1, folder / name)


def said(*samples: Sample) -> list[str]:
    scan = scan_dataset(DataSet(samples, {"thing": "thing"}))
    assert not scan.faults
    return [line for line in remarks(scan) if not line.startswith("no normal images")]


@pytest.mark.parametrize(("name", "options"), [("m.jpg", {"quality": 60}), ("m.webp", {"quality": 30})])
def test_a_lossy_mask_is_taken_at_half_and_told_of(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    marked = sample(tmp_path, SQUARE, name, **options)
    found = open_mask(tmp_path / name, None).marks
    assert label(found)[1] == 1 and np.mean(found != SQUARE // 255) < 0.01
    assert np.any((np.asarray(Image.open(tmp_path / name).convert("L")) > 0) != (SQUARE > 0)), "noise beside it"
    assert said(marked) == [
        "1 masks are JPEGs, whose edges are not sharp: they are taken at half of the largest value; "
        f"the first is {tmp_path / name}"
    ]


def test_a_jpeg_of_a_black_mask_stays_black(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 6, (40, 40), dtype=np.uint8)).save(tmp_path / "m.jpg")
    assert not open_mask(tmp_path / "m.jpg", None).marks.any()


def test_inverted_masks_are_told_of_with_their_share_of_white(tmp_path: Path) -> None:
    inverted = [sample(tmp_path, 255 - SQUARE, f"{n}.png") for n in range(2)]
    inverted[1] = sample(tmp_path, 255 - np.roll(SQUARE, 5, axis=0) // 2, "1.png")
    (line,) = [line for line in said(*inverted) if "white" in line]
    share = f"{np.mean(SQUARE == 0):.0%}"
    assert line == (
        "2 masks are more than 50% white, as inverted ones are, and white is anomalous; "
        f"the first is {tmp_path / '0.png'} ({share}); then {tmp_path / '1.png'} (100%)"
    )
    assert said(sample(tmp_path, SQUARE, "2.png")) == []


def test_several_values_are_told_of_with_their_counts(tmp_path: Path) -> None:
    marked = SQUARE // 255
    marked[9, 12:30] = 255
    palette = Image.fromarray(marked).convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0, *[0] * 759, 224, 224, 192])
    for mask in (Image.fromarray(marked), palette):
        (line,) = said(sample(tmp_path, mask))
        assert line == (
            "1 masks have more than one value that is not black, and all of them count as anomalous; "
            f"the first is {tmp_path / 'm.png'}: 1 (180 pixels), 255 (18 pixels); "
            "`ignore = 255` in the data's table leaves a value out"
        )
        assert said(replace(sample(tmp_path, mask), ignore=255)) == []
    colours = np.stack([marked * 200, marked, 0 * marked], axis=-1)
    (line,) = said(sample(tmp_path, colours))
    assert "#c80100 (180 pixels), #38ff00 (18 pixels)" in line


def test_pixels_of_the_ignored_value_are_left_out(tmp_path: Path) -> None:
    marked = SQUARE // 255
    marked[:, 30:32] = 255
    found = read_mask(replace(sample(tmp_path, marked), ignore=255), (40, 40), 20)
    assert found.dtype == np.int8 and set(np.unique(found).tolist()) == {IGNORED, 0, 1}
    np.testing.assert_array_equal(found == IGNORED, marked[1::2, 1::2] == 255)
    np.testing.assert_array_equal(found == 1, marked[1::2, 1::2] == 1)
    sample(tmp_path, SQUARE, "m.jpg")
    with pytest.raises(UserError, match="is a JPEG, in which no value is exactly 255"):
        open_mask(tmp_path / "m.jpg", None, (tmp_path / "m.jpg").read_bytes(), ignore=255)


def test_a_mask_that_two_images_share_is_told_of(tmp_path: Path) -> None:
    first, second = sample(tmp_path, SQUARE, "1.png"), sample(tmp_path, SQUARE, "2.png")
    shared = replace(second, mask=first.mask)
    for pair in ((first, second), (first, shared)):
        assert said(*pair) == [
            f"1 masks lie on several images of their class; the first is {first.image} and {second.image}"
        ]


def test_a_normal_image_whose_mask_marks_something_is_a_fault(tmp_path: Path) -> None:
    marked = replace(sample(tmp_path, SQUARE), label=0)
    (fault,) = scan_dataset(DataSet((marked,), {"thing": "thing"})).faults
    assert fault.where == str(marked.image)
    assert fault.problem == f"is a normal image, and 180 pixels of its mask {marked.mask} are anomalous"
    assert fault.fix == "label it as anomalous, or give it a mask that is black, or none"
    ignored = replace(marked, ignore=255)
    black = replace(sample(tmp_path, 0 * SQUARE, "b.png"), label=0)
    scan = scan_dataset(DataSet((ignored, black), {"thing": "thing"}))
    assert not scan.faults and [one.mask for one in scan.data.samples] == [None, None]


def test_an_image_that_is_its_own_mask_is_a_fault(tmp_path: Path) -> None:
    marked = sample(tmp_path, SQUARE)
    own = replace(marked, mask=marked.image)
    (fault,) = scan_dataset(DataSet((own,), {"thing": "thing"})).faults
    assert fault.problem == "its mask is a copy of the image itself"


def test_a_normal_images_mask_of_another_size_is_a_fault(tmp_path: Path) -> None:
    marked = replace(sample(tmp_path, SQUARE[:30]), label=0)
    (fault,) = scan_dataset(DataSet((marked,), {"thing": "thing"})).faults
    assert fault.problem == "the mask is 40 x 30 pixels, its image 40 x 40"


def test_a_mask_of_numbers_that_are_none_is_a_fault(tmp_path: Path) -> None:
    numbers = np.full((40, 40), np.nan, np.float32)
    numbers[10:20, 12:30] = 1
    scan = scan_dataset(DataSet((sample(tmp_path, numbers, "m.tif"),), {"thing": "thing"}))
    assert [fault.problem for fault in scan.faults] == [
        "cannot be read as an image: some of its values are no finite numbers"
    ]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_shape_in_the_alpha_channel_alone_is_a_fault(tmp_path: Path, mode: str) -> None:
    black = Image.new("L", (40, 40))
    bands = [black] * (len(mode) - 1)
    Image.merge(mode, [*bands, Image.fromarray(SQUARE)]).save(tmp_path / "m.png")
    with pytest.raises(UserError, match="its shape is in the alpha channel"):
        open_mask(tmp_path / "m.png", None)


@pytest.mark.parametrize("turned", [1, 3, 4, 6])
def test_a_photograph_turned_by_a_tag_whose_mask_has_none_is_told_of(tmp_path: Path, turned: int) -> None:
    marked, exif = sample(tmp_path, SQUARE), Image.Exif()
    exif[0x0112] = turned
    Image.open(marked.image).save(tmp_path / "photo.jpg", exif=exif)
    photo = replace(marked, image=tmp_path / "photo.jpg")
    advice = "a mask is right if, upright, it was drawn on the upright image"
    line = f"1 images are turned otherwise than their masks by an EXIF tag; the first is {photo.image}; {advice}"
    assert said(photo) == ([line] if turned > 1 else [])
    Image.fromarray(SQUARE).save(tmp_path / "m.png", exif=exif)
    assert said(photo) == []
    Image.open(marked.image).save(photo.image)
    assert said(photo) == ([line] if turned > 1 else []), "the mask alone is turned"


def test_a_mask_of_the_turned_size_gets_the_sentence_that_helps(tmp_path: Path) -> None:
    Image.new("L", (4, 5)).save(tmp_path / "m.png")
    with pytest.raises(UserError) as caught:
        open_mask(tmp_path / "m.png", (5, 4))
    assert caught.value.fix == "turn the mask as its image is turned, by its EXIF tag if it has one"
