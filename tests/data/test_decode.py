"""Decoding: every usual format and mode to upright RGB of 8 bits, masks by what is not black, faults as messages."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from aaclip_kit import Sample, UserError
from aaclip_kit.data.decode import check_mask_size, open_mask, open_picture, resized
from aaclip_kit.data.decoded import read_mask
from aaclip_kit.data.image_file import MOST_PIXELS

from ..pictures import chunk, png
from .tiffs import tiff

ORIENTATION = 0x0112
WIDTH, HEIGHT = 30, 20


@pytest.fixture
def colours() -> np.ndarray:
    """Smooth, so that JPEG keeps it nearly as it is; no symmetry, so that a wrong orientation is seen."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([8 * x, 12 * y, 60 + 2 * x + 3 * y], axis=-1).astype(np.uint8)


def pixels(path: Path) -> np.ndarray:
    picture = open_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".png", {}),
        (".bmp", {}),
        (".tif", {}),
        (".tiff", {"compression": "tiff_lzw"}),
        (".webp", {"lossless": True}),
    ],
)
def test_lossless_formats_come_back_exactly(
    tmp_path: Path, colours: np.ndarray, suffix: str, options: dict[str, Any]
) -> None:
    Image.fromarray(colours).save(tmp_path / f"a{suffix}", **options)
    np.testing.assert_array_equal(pixels(tmp_path / f"a{suffix}"), colours)


def test_jpeg_comes_back_nearly(tmp_path: Path, colours: np.ndarray) -> None:
    Image.fromarray(colours).save(tmp_path / "a.jpg", quality=98, subsampling=0)
    assert np.abs(pixels(tmp_path / "a.jpg").astype(int) - colours).max() <= 6


def test_the_suffix_is_not_believed(tmp_path: Path, colours: np.ndarray) -> None:
    Image.fromarray(colours).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(pixels(tmp_path / "a.jpg"), colours)


def test_grey_becomes_three_equal_channels(tmp_path: Path, colours: np.ndarray) -> None:
    grey = colours[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.stack([grey] * 3, axis=-1))


def test_black_and_white_is_0_and_255(tmp_path: Path) -> None:
    bits = np.eye(8, dtype=bool)
    Image.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png")[..., 1], bits * 255)


def test_alpha_is_dropped_and_colours_stay(tmp_path: Path, colours: np.ndarray) -> None:
    alpha = np.full((HEIGHT, WIDTH, 1), 90, np.uint8)
    Image.fromarray(np.concatenate([colours, alpha], axis=-1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), colours)


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 5, 150, 250])
    picture.putdata([1, 0])
    picture.save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[[5, 150, 250], [200, 10, 20]]]


def test_a_transparent_palette_is_looked_up_without_a_warning(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 5, 150, 250])
    picture.putdata([1, 0])
    picture.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert pixels(tmp_path / "a.png").tolist() == [[[5, 150, 250], [200, 10, 20]]]


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
def test_printing_colours_become_those_of_a_screen(tmp_path: Path, suffix: str) -> None:
    """Cyan, magenta, yellow and black ink: white is none of them."""
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]
    expected = np.array([(255, 255, 255), (0, 255, 255), (255, 255, 0), (0, 0, 0)])
    values = np.array(inks, np.uint8)[None].repeat(16, axis=0).repeat(16, axis=1)
    options: dict[str, Any] = {"quality": 98} if suffix == ".jpg" else {}
    Image.frombytes("CMYK", values.shape[1::-1], values.tobytes()).save(tmp_path / f"a{suffix}", **options)
    assert np.abs(pixels(tmp_path / f"a{suffix}")[8, 8::16].astype(int) - expected).max() <= 8


def test_colours_of_16_bits_are_scaled_to_8(tmp_path: Path) -> None:
    """Pillow writes no such file, so this one is put together by hand."""
    row = b"\0" + struct.pack(">6H", 0, 256, 40000, 65535, 255, 32768)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b""))
    parts = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    assert pixels(tmp_path / "a.png").tolist() == [[[0, 1, 156], [255, 0, 128]]]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_scaled_to_8_not_cut_off(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 255, 256, 32768, 40000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    assert pixels(tmp_path / f"a{suffix}")[0, :, 0].tolist() == [0, 0, 1, 128, 156, 255]


def test_floating_point_pixels_are_refused_rather_than_turned_black(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="its pixels are floating-point numbers"):
        open_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright_and_its_mask_fits(tmp_path: Path, colours: np.ndarray, orientation: int) -> None:
    """Cameras store pixels as the sensor lies and say how to turn them; masks are drawn on the upright picture."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = np.asarray(Image.fromarray(colours).transpose(_undoing(orientation))) if orientation > 1 else colours
    Image.fromarray(stored).save(tmp_path / "a.jpg", quality=98, subsampling=0, exif=exif)
    found = pixels(tmp_path / "a.jpg")
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found.astype(int) - colours).max() <= 6

    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:7, 20:28] = 255
    Image.fromarray(mask).save(tmp_path / "plain.png")
    turned = np.asarray(Image.fromarray(mask).transpose(_undoing(orientation))) if orientation > 1 else mask
    Image.fromarray(turned).save(tmp_path / "exif.png", exif=exif)
    for name in ("plain.png", "exif.png"):
        np.testing.assert_array_equal(open_mask(tmp_path / name, (WIDTH, HEIGHT)).marks, mask // 255)


def _undoing(orientation: int) -> Image.Transpose:
    """What a camera held so does to the pixels (EXIF 2.3, tag 274)."""
    return {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]


MARKS = np.array([[0, 1, 2], [128, 255, 0]], np.uint8)
IS_MARKED = [[0, 1, 1], [1, 1, 0]]


def _palette(first: tuple[int, ...], second: tuple[int, ...], data: list[int]) -> Image.Image:
    picture = Image.new("P", (3, 2))
    picture.putpalette([*first, *second])
    picture.putdata(data)
    return picture


@pytest.mark.parametrize(
    "mask",
    [
        Image.fromarray(MARKS),
        Image.fromarray(MARKS > 0),
        Image.fromarray(MARKS.astype(np.uint16) * 256),
        Image.fromarray(np.stack([MARKS, 0 * MARKS, 0 * MARKS], axis=-1)),
        Image.fromarray(np.stack([MARKS, MARKS, MARKS, np.full_like(MARKS, 255)], axis=-1)),
        Image.merge("LA", [Image.fromarray(MARKS), Image.new("L", (3, 2), 255)]),
        _palette((0, 0, 0), (128, 0, 0), [0, 1, 1, 1, 1, 0]),
        _palette((255, 255, 255), (0, 0, 0), [1, 0, 0, 0, 0, 1]),
    ],
    ids=["grey", "one bit", "16 bits", "red only", "opaque RGBA", "opaque LA", "label palette", "white comes first"],
)
def test_what_is_not_black_in_a_mask_is_anomalous(tmp_path: Path, mask: Image.Image) -> None:
    mask.save(tmp_path / "m.png")
    assert open_mask(tmp_path / "m.png", (3, 2)).marks.tolist() == IS_MARKED


def test_a_mask_in_printing_colours_marks_what_is_not_black(tmp_path: Path) -> None:
    inks = bytes([0, 0, 0, 255]) + bytes(4)
    Image.frombytes("CMYK", (2, 1), inks).save(tmp_path / "m.tif")
    assert open_mask(tmp_path / "m.tif", (2, 1)).marks.tolist() == [[0, 1]]


def test_masks_are_resized_to_their_nearest_pixel(tmp_path: Path) -> None:
    Image.fromarray(np.kron(np.eye(2, dtype=np.uint8), np.ones((8, 8), np.uint8)) * 3).save(tmp_path / "m.png")
    found = read_mask(Sample(tmp_path / "m.png", "thing", 1, tmp_path / "m.png"), (16, 16), 6)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, np.kron(np.eye(2), np.ones((3, 3))) > 0)


def test_no_mask_is_an_empty_one() -> None:
    assert not read_mask(Sample(Path("a.png"), "thing", 0), (30, 20), 5).any()


def test_a_mask_of_another_size_is_named_with_both_sizes(tmp_path: Path) -> None:
    Image.new("L", (4, 5)).save(tmp_path / "m.png")
    with pytest.raises(UserError, match="the mask is 4 x 5 pixels, its image 5 x 4") as caught:
        open_mask(tmp_path / "m.png", (5, 4))
    assert caught.value.where == str(tmp_path / "m.png")
    check_mask_size(tmp_path / "m.png", (4, 5), (4, 5))


def test_pictures_are_resized_whole_without_a_crop(colours: np.ndarray) -> None:
    found = np.asarray(resized(Image.fromarray(colours), 12))
    assert found.shape == (12, 12, 3)
    expected = Image.fromarray(colours).resize((12, 12), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found, np.asarray(expected))
    same = Image.new("RGB", (12, 12))
    assert resized(same, 12) is same


def _encoded(kind: str) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


@pytest.mark.filterwarnings("ignore:Truncated File Read")  # Pillow's own, before it gives up
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_truncated_file_is_a_message_that_names_it(tmp_path: Path, kind: str, share: float) -> None:
    data, path = _encoded(kind), tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * share)])
    for read in (open_picture, lambda file: open_mask(file, (40, 40))):
        with pytest.raises(UserError, match="cannot be read as an image") as caught:
            read(path)
        assert caught.value.where == str(path)
        assert caught.value.fix


@pytest.mark.parametrize("content", [b"", b"this is text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_a_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as an image"):
        open_picture(tmp_path / "a.png")


def test_damaged_headers_never_raise_anything_but_a_message(tmp_path: Path) -> None:
    """A PNG's parts have checksums, so that none is read; a BMP shows what is left of it."""
    random, path = np.random.default_rng(1), tmp_path / "flipped.img"
    read = dict.fromkeys(("PNG", "JPEG", "BMP"), 0)
    for kind in read:
        whole = _encoded(kind)
        for _ in range(60):
            data = bytearray(whole)
            for place in random.integers(0, 200, size=3):
                data[place] = random.integers(0, 256)
            path.write_bytes(data)
            try:
                open_picture(path)
                read[kind] += 1
            except UserError as error:
                assert error.where == str(path)
    assert read["PNG"] == 0 < read["JPEG"] < 60 and 20 < read["BMP"] < 60


@pytest.mark.parametrize(
    ("entry", "raised"),
    [
        ((0x011A, 2, 1, 0), TypeError),  # a resolution in letters
        ((0x0131, 11, 1, 0), AttributeError),  # a name that is a number
        ((0x0111, 9, 1, 2**31), struct.error),  # a place before the file
    ],
)
def test_a_damaged_exif_block_is_a_message(tmp_path: Path, entry: tuple[int, ...], raised: type[Exception]) -> None:
    exif = b"Exif\0\0II*\0" + struct.pack("<IH2H2I2H2I", 8, 2, ORIENTATION, 3, 1, 6, *entry) + bytes(4)
    path = tmp_path / "a.jpg"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path, exif=exif)
    with Image.open(path) as picture, pytest.raises(raised):
        ImageOps.exif_transpose(picture)
    for read in (open_picture, lambda file: open_mask(file, (WIDTH, HEIGHT))):
        with pytest.raises(UserError, match=f"cannot be read as an image: .* {raised.__name__}: ") as caught:
            read(path)
        assert caught.value.where == str(path)


@pytest.mark.parametrize("pixels", [MOST_PIXELS + 10_000, 4 * MOST_PIXELS])
def test_the_size_in_the_header_is_enough_to_refuse_an_image(tmp_path: Path, pixels: int) -> None:
    """What follows this header is nothing, so that it cannot have been unpacked."""
    side = struct.pack("<ii", pixels // 10_000, 10_000)
    (tmp_path / "a.bmp").write_bytes(
        b"BM" + struct.pack("<IIII", 70, 0, 54, 40) + side + struct.pack("<HH", 1, 24) + bytes(40)
    )
    for read in (open_picture, lambda file: open_mask(file, (40, 40))):
        with pytest.raises(UserError, match="is too large: it has more than 100,000,000 pixels") as caught:
            read(tmp_path / "a.bmp")
        assert caught.value.fix == "scale it down, or cut it into tiles"


def test_content_that_has_been_read_stands_in_for_the_file(tmp_path: Path, colours: np.ndarray) -> None:
    Image.fromarray(colours).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    np.testing.assert_array_equal(np.asarray(open_picture(Path("gone.png"), content)), colours)
    assert open_mask(Path("gone.png"), (WIDTH, HEIGHT), content).marks.shape == (HEIGHT, WIDTH)
    with pytest.raises(UserError, match="what it holds is no image") as caught:
        open_picture(tmp_path / "a.png", b"text")
    assert caught.value.where == str(tmp_path / "a.png")


@pytest.mark.parametrize("entries", [0, 1])
def test_colours_that_a_palette_does_not_hold_are_not_taken_for_black(tmp_path: Path, entries: int) -> None:
    rows = zlib.compress(bytes([0, 0, 1] * 2 + [0, 1, 1] * 7))
    for held, answer in ((2, None), (entries, "its pixels have colours that its palette does not hold")):
        palette = chunk(b"PLTE", bytes([0, 0, 0, 255, 0, 0])[: 3 * held]) if held else b""
        content = png((2, 9, 8, 3, 0, 0, 0), rows, palette)
        for read in (open_picture, lambda file, content: open_mask(file, None, content)):
            with nullcontext() if answer is None else pytest.raises(UserError, match=answer):
                read(tmp_path / "a.png", content)


def test_a_tiff_of_numbers_of_another_kind_is_not_called_none(tmp_path: Path) -> None:
    complex_numbers: dict[int, tuple[int, int | bytes]] = {339: (3, 5)}
    file = tiff(tmp_path / "a.tif", np.zeros((9, 9), np.uint16), complex_numbers)
    with pytest.raises(UserError, match="its pixels are numbers of a kind that is not read"):
        open_picture(file)


def test_a_missing_file_and_a_folder_are_messages(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        open_picture(tmp_path / "none.png")
    with pytest.raises(UserError, match="is a folder, and no file"):
        open_mask(tmp_path, (1, 1))
