"""Heatmap pictures: an image, what is wrong with it, and what the model says, side by side."""

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation

COLOURMAP: Final = "inferno"
"""Perceptually uniform and readable with colour-vision deficiencies (matplotlib's own documentation)."""

SMALLEST_SIDE: Final = 224
LARGEST_SIDE: Final = 512
_CAPTION: Final = 24
_GAP: Final = 6
_INK: Final = (34, 34, 34)
_OUTLINE: Final = (0, 229, 255)


def save_heatmap(
    path: Path,
    image: UInt8[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"] | None,
    anomaly_map: Float[np.ndarray, "h w"],
    *,
    scale: tuple[float, float],
) -> None:
    """Write one PNG with three panels: the image, the image with its mask's outline, the anomaly map in colours.

    `scale` gives the map values of the darkest and the brightest colour, values beyond it are clipped; give all
    pictures of a run the same. Small images are enlarged, so that a person sees something. Raises ValueError for a
    scale that descends.
    """
    size = _panel_size(image.shape[1], image.shape[0])
    picture = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    outline = _without_mask(picture) if mask is None else outlined(picture, mask)
    values = Image.fromarray(anomaly_map.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    panels = (picture, outline, Image.fromarray(coloured(np.asarray(values), scale)))
    sheet = Image.new("RGB", (3 * size[0] + 2 * _GAP, _CAPTION + size[1]), "white")
    for column, panel in enumerate(panels):
        sheet.paste(panel, (column * (size[0] + _GAP), _CAPTION))
    _write_captions(sheet, size[0])
    sheet.save(path, compress_level=4)  # a fifth of the time of optimize=True, for 5 % more bytes


def _panel_size(width: int, height: int) -> tuple[int, int]:
    factor = max(1.0, SMALLEST_SIDE / min(width, height))
    factor = min(factor, LARGEST_SIDE / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _without_mask(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    ImageDraw.Draw(picture).text((_GAP, _GAP), "no mask", "white", _font(), stroke_width=2, stroke_fill=_INK)
    return picture


def outlined(picture: Image.Image, mask: Bool[np.ndarray, "H W"]) -> Image.Image:
    """The picture with a line around its mask."""
    inside = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)) > 0
    line = binary_dilation(inside, iterations=2) & ~inside
    # A dark rim, so that the line shows on a surface of its own colour.
    rim = binary_dilation(inside, iterations=3) & ~inside & ~line
    pixels = np.array(picture)
    pixels[line], pixels[rim] = _OUTLINE, 0
    return Image.fromarray(pixels)


def coloured(values: Float[np.ndarray, "h w"], scale: tuple[float, float]) -> UInt8[np.ndarray, "h w 3"]:
    """Values in the colours of `COLOURMAP`; those beyond the scale are clipped. Raises ValueError if it descends."""
    low, high = scale
    if not low <= high:
        raise ValueError(f"no colour scale: {low} to {high}")
    shares = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return _colours()[np.round(shares * 255).astype(np.uint8)]


def enlarged(grid: Float[np.ndarray, "G G"], size: int) -> Float[np.ndarray, "size size"]:
    """Bilinear with aligned corners, as maps are made from the patch grid."""
    places = np.linspace(0, len(grid) - 1, size)
    low = np.minimum(places.astype(int), max(len(grid) - 2, 0))
    weights = np.zeros((size, len(grid)), np.float32)
    weights[np.arange(size), low] = 1 - (places - low)
    weights[np.arange(size), np.minimum(low + 1, len(grid) - 1)] += places - low
    larger: np.ndarray = weights @ grid @ weights.T
    return larger


@cache
def _colours() -> UInt8[np.ndarray, "256 3"]:
    # Here, since nothing else of a run needs matplotlib.
    from matplotlib import colormaps

    table: np.ndarray = colormaps[COLOURMAP](np.arange(256), bytes=True)[:, :3]
    return np.ascontiguousarray(table)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=14)


def _write_captions(sheet: Image.Image, panel: int) -> None:
    draw, middle = ImageDraw.Draw(sheet), _CAPTION // 2
    for column, text in enumerate(("image", "mask", "map")):
        draw.text((column * (panel + _GAP) + 2, middle), text, fill=_INK, font=_font(), anchor="lm")
    low, high = "normal", "anomalous"
    right = sheet.width - 2
    draw.text((right, middle), high, fill=_INK, font=_font(), anchor="rm")
    bar_right = right - round(_font().getlength(high)) - 5
    bar = Image.fromarray(_colours()[None, ::4].repeat(10, axis=0))
    sheet.paste(bar, (bar_right - bar.width, middle - 5))
    draw.text((bar_right - bar.width - 5, middle), low, fill=_INK, font=_font(), anchor="rm")
