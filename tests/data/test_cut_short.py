"""Files whose data end before their picture does, and which have an end all the same."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import UserError
from aaclip_kit.data import cut_short
from aaclip_kit.data.decode import open_mask, open_picture

from ..pictures import encoded, noise, png
from .tiffs import tiff

NAME = Path("a.jpg")
CODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "in one go": ("RGB", {}),
    "grey": ("L", {}),
    "of inks": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "with restarts": ("RGB", {"restart_marker_rows": 1}),
    "with many restarts": ("L", {"restart_marker_blocks": 1}),
    "in the finest colours": ("RGB", {"subsampling": 0, "quality": 98}),
    "in codes of its own": ("RGB", {"optimize": True, "quality": 30}),
}


def jpeg(coding: str, height: int = 100, width: int = 90) -> bytes:
    mode, options = CODINGS[coding]
    return encoded(noise(height, width), "JPEG", mode, **options)


@pytest.mark.parametrize("small", [True, False], ids=["decoded twice", "looked at"])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_jpeg_that_is_cut_and_given_an_end_is_refused(
    monkeypatch: pytest.MonkeyPatch, coding: str, small: bool
) -> None:
    monkeypatch.setattr(cut_short, "_SMALL", cut_short._SMALL if small else 0)
    whole = jpeg(coding)
    assert open_picture(NAME, whole).size == (90, 100)
    begin = whole.index(b"\xff\xda") + 14
    for share in (0.05, 0.3, 0.5, 0.7, 0.9):
        content = whole[: begin + int((len(whole) - begin) * share)] + b"\xff\xd9"
        for reader in (open_picture, lambda file, data: open_mask(file, None, data)):
            with pytest.raises(UserError, match="cannot be read as an image: ") as caught:
                reader(NAME, content)
            assert caught.value.where == "a.jpg"


def test_the_sentence_says_what_is_the_matter() -> None:
    with pytest.raises(UserError) as caught:
        open_picture(NAME, jpeg("in one go")[:2000] + b"\xff\xd9")
    assert caught.value.problem == (
        "cannot be read as an image: its data end before the picture does, though the file has an end"
    )


def test_a_progressive_jpeg_whose_last_scans_are_missing_is_refused() -> None:
    whole = jpeg("progressive")
    scans = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for place in scans[1:]:
        with pytest.raises(UserError, match=r"data end before the picture does|truncated"):
            open_picture(NAME, whole[:place] + b"\xff\xd9")


def test_what_follows_a_jpegs_end_and_filling_before_it_do_not_matter() -> None:
    whole = jpeg("in one go")
    expected = np.asarray(open_picture(NAME, whole))
    for content in (whole + b"more", whole + whole[:500], whole[:-2] + b"\xff\xff\xff\xd9"):
        np.testing.assert_array_equal(np.asarray(open_picture(NAME, content)), expected)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_that_is_grey_where_libjpeg_would_fill_it_is_whole(
    monkeypatch: pytest.MonkeyPatch, value: int
) -> None:
    monkeypatch.setattr(cut_short, "_SMALL", 0)
    pixels = noise(64, 64)
    pixels[30:] = value
    assert open_picture(NAME, encoded(pixels, "JPEG")).size == (64, 64)


def test_a_png_of_fewer_rows_than_it_says_is_refused() -> None:
    rows = np.concatenate([np.zeros((30, 1), np.uint8), noise(30, 20).reshape(30, 60)], axis=1)
    header = (20, 30, 8, 2, 0, 0, 0)
    assert open_picture(NAME, png(header, zlib.compress(rows.tobytes()))).size == (20, 30)
    rows[20:] = 0
    assert open_picture(NAME, png(header, zlib.compress(rows.tobytes()))).size == (20, 30), "black below, and whole"
    with pytest.raises(UserError, match="its data end before the picture does"):
        open_picture(NAME, png(header, zlib.compress(rows[:20].tobytes())))


LACKING: dict[str, dict[int, tuple[int, int | bytes]]] = {
    "a strip without a place": {273: (4, 0), 279: (4, 0)},
    "two strips, one of them there": {278: (4, 10)},
    "planes, one of them there": {277: (3, 3), 258: (3, bytes([8, 0] * 3)), 262: (3, 2), 284: (3, 2)},
    "tiles, one of them there": {322: (3, 16), 323: (3, 16), 324: (4, 8), 325: (4, 256)},
}


@pytest.mark.parametrize("tags", LACKING.values(), ids=LACKING)
def test_a_tiff_that_lacks_a_strip_or_a_tile_is_refused(
    tmp_path: Path, tags: dict[int, tuple[int, int | bytes]]
) -> None:
    grey = noise(20, 20)[..., 0]
    assert open_picture(tiff(tmp_path / "whole.tif", grey)).size == (20, 20)
    with pytest.raises(UserError, match="its data end before the picture does"):
        open_picture(tiff(tmp_path / "a.tif", grey, tags))


@pytest.mark.parametrize("kind", [None, "tiff_lzw", "packbits", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_tiffs_of_several_strips_are_whole(tmp_path: Path, kind: str | None, mode: str) -> None:
    Image.fromarray(noise(301, 200)).convert(mode).save(tmp_path / "a.tif", compression=kind, strip_size=4096)
    assert open_picture(tmp_path / "a.tif").size == (200, 301)


def test_black_pngs_of_every_kind_are_whole(tmp_path: Path) -> None:
    for number, mode in enumerate(("1", "L", "LA", "P", "RGB", "RGBA", "I;16")):
        path = tmp_path / f"{number}.png"
        Image.new(mode, (13, 11)).save(path)
        assert not open_mask(path, (13, 11)).marks.any()
    frames = [Image.fromarray(noise(9, 9)), Image.new("RGB", (9, 9))]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    assert not open_mask(tmp_path / "moving.png#2", (9, 9)).marks.any()
