"""The same picture in another file, and pictures that look like copies of one another."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit.data.copies import Looks, near_pairs, pixels_and_look, same_pixels
from aaclip_kit.data.decode import open_picture

from ..conftest import SHARED

Change = Callable[[Image.Image], Image.Image]


def photo(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    """Noise of several scales, as a surface has it."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for side in (3, 6, 12, 24, 90):
        noise = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float)
    return Image.fromarray((total / 5).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def scaled(picture: Image.Image, factor: float) -> Image.Image:
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BICUBIC)


def cropped(picture: Image.Image) -> Image.Image:
    """Without the outer hundredth of each side."""
    x, y = (round(side / 100) for side in picture.size)
    return picture.crop((x, y, picture.width - x, picture.height - y))


COPIES: dict[str, Change] = {
    "JPEG 90": lambda picture: jpeg(picture, 90),
    "JPEG 50": lambda picture: jpeg(picture, 50),
    "0.8": lambda picture: scaled(picture, 0.8),
    "0.5": lambda picture: scaled(picture, 0.5),
    "cropped": cropped,
    "grey": lambda picture: picture.convert("L").convert("RGB"),
}


def looks(pictures: list[Image.Image]) -> Looks:
    return np.array([pixels_and_look(picture)[1] for picture in pictures])


PHOTOS = [photo(seed) for seed in range(12)]


@pytest.mark.parametrize("name", ["other.png", "a.bmp", "a.tif", "a.webp", "turned.png"])
def test_a_picture_that_is_saved_anew_without_a_loss_has_the_same_checksum(tmp_path: Path, name: str) -> None:
    picture, exif = PHOTOS[0], Image.Exif()
    picture.save(tmp_path / "first.png")
    options: dict[str, object] = {"compress_level": 0} if name == "other.png" else {}
    if name == "turned.png":
        exif[0x0112] = 6
        picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / name, exif=exif)
    else:
        picture.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else options))
    first, other = tmp_path / "first.png", tmp_path / name
    assert first.read_bytes() != other.read_bytes()
    assert pixels_and_look(open_picture(first))[0] == pixels_and_look(open_picture(other))[0]
    assert same_pixels(first, other)


def test_size_and_every_pixel_of_a_small_picture_count() -> None:
    changed = PHOTOS[0].copy()
    changed.putpixel((60, 45), (255, 0, 255))
    flat = [Image.new("RGB", size, "grey") for size in ((30, 20), (20, 30))]
    assert len({pixels_and_look(picture)[0] for picture in (PHOTOS[0], changed, *flat)}) == 4


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_among_others(kind: str) -> None:
    copies = looks([COPIES[kind](picture) for picture in PHOTOS[:6]])
    assert list(near_pairs(looks(PHOTOS), copies)) == [(place, place) for place in range(6)]


def test_other_pictures_and_pictures_that_show_nothing_are_no_copies() -> None:
    flat = [Image.new("RGB", (50, 40), (level,) * 3) for level in (100, 100, 101)]
    assert list(near_pairs(looks(PHOTOS), looks([photo(seed) for seed in range(50, 62)]))) == []
    assert list(near_pairs(looks(flat), looks(flat))) == []
    lighter = [Image.eval(picture, lambda value: min(255, value + 20)) for picture in PHOTOS]
    assert list(near_pairs(looks(PHOTOS), looks(lighter))) == []


def test_a_series_of_one_object_is_no_series_of_copies() -> None:
    """A camera that does not move: noise and a shift of a pixel or two."""
    random = np.random.default_rng(0)
    base = np.asarray(photo(0, 200, 200), float)

    def shot(number: int) -> Image.Image:
        moved = np.roll(base, (number % 5, number // 5), (0, 1)) + random.normal(0, 4, base.shape)
        return Image.fromarray(moved.clip(0, 255).astype(np.uint8))

    series = looks([shot(number) for number in range(25)])
    assert list(near_pairs(series[:15], series[15:])) == []
    one = looks([jpeg(PHOTOS[1], 90)])
    assert list(near_pairs(np.concatenate([series, looks(PHOTOS[:3])]), one)) == [(26, 0)]


def test_within_one_list_each_copy_is_found_once() -> None:
    own = looks([*PHOTOS[:4], jpeg(PHOTOS[2], 80)])
    assert list(near_pairs(own, own)) == [(2, 4)]


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "realdata").is_dir(), reason="the photographs are not here")
@pytest.mark.parametrize("name", ["magnetic_tile", "pavement_crack"])
def test_copies_of_photographs_are_found_without_a_false_alarm(name: str) -> None:
    """The figures of docs/notebook/copies.md: at least 90 % of each kind, and none of 12,720 pairs wrongly."""
    files = [path for path in sorted((SHARED / "realdata" / name).rglob("*.png")) if "ground_truth" not in path.parts]
    pictures = [open_picture(path) for path in files]
    own = looks(pictures)
    assert list(near_pairs(own, own)) == []
    for change in COPIES.values():
        pairs = list(near_pairs(own, looks([change(picture) for picture in pictures])))
        assert all(one == other for one, other in pairs)
        assert len(pairs) >= 0.9 * len(pictures)
