"""Draws the README's strip from a finished run: test images above their true defects above what the model marks.

    aakit run experiments/feedback.toml --out RUN; python tools/readme_strip.py RUN docs/images/strip.jpg

One anomalous test image of each class, the first of those that are spaced evenly through the data: no score has a say.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from aaclip_kit import UserError
from aaclip_kit.record.examples_file import ExamplesFile
from aaclip_kit.record.heatmap import coloured, enlarged

SIDE: Final = 150
"""Pixels of one picture's side in the strip."""

MARGIN: Final = 90
"""Pixels left of the pictures, for what a row shows."""

HEAD: Final = 22
"""Pixels above the pictures, for the names of the classes."""

GAP: Final = 4
ROWS: Final = ("image", "true defect", "the model")
_INK: Final = (34, 34, 34)


def main() -> None:
    """Write the strip of one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("out", type=Path, help="picture to write; its suffix decides the format")
    arguments = parser.parse_args()
    try:
        strip(ExamplesFile.read(arguments.run / "cases.npz")).save(arguments.out, quality=88, optimize=True)
    except UserError as error:
        sys.exit(f"error: {error}")


def strip(file: ExamplesFile) -> Image.Image:
    """Return the picture: a column a class, a row for each of `ROWS`. Raises `UserError` if no class can be shown."""
    columns = chosen(file)
    if not columns:
        raise UserError("holds no anomalous image whose mask is known", where="cases.npz", fix="take another run")
    size = (MARGIN + len(columns) * (SIDE + GAP) - GAP, HEAD + len(ROWS) * (SIDE + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    for column, index in enumerate(columns):
        for row, panel in enumerate(_panels(file, index)):
            picture = Image.fromarray(panel).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            sheet.paste(picture, (MARGIN + column * (SIDE + GAP), HEAD + row * (SIDE + GAP)))
    _write_words(sheet, [file.examples[index].class_name.replace("_", " ") for index in columns])
    return sheet


def chosen(file: ExamplesFile) -> list[int]:
    """The first evenly spaced anomalous image of each class whose mask is known, in the order of the file."""
    found: dict[str, int] = {}
    for index, case in enumerate(file.examples):
        if case.label == 1 and case.masked and "even" in case.chosen:
            found.setdefault(case.class_name, index)
    return list(found.values())


def overlay(
    picture: UInt8[np.ndarray, "S S 3"], values: Float[np.ndarray, "S S"], scale: tuple[float, float]
) -> UInt8[np.ndarray, "S S 3"]:
    """Lay a map's colours over its picture in grey: the scale's lowest value leaves the grey, its highest hides it."""
    low, high = scale
    share = np.clip((values - low) / ((high - low) or 1.0), 0, 1)[..., None]
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    mixed: np.ndarray = (1 - share) * grey + share * coloured(values, scale)
    return np.round(mixed).astype(np.uint8)


def _panels(file: ExamplesFile, index: int) -> tuple[UInt8[np.ndarray, "S S 3"], ...]:
    picture, side = file.pictures[index], len(file.pictures[index])
    values = enlarged(file.grids[index, -1], side)
    return picture, _white(file.masks[index]), overlay(picture, values, file.scale)


def _white(mask: Bool[np.ndarray, "S S"]) -> UInt8[np.ndarray, "S S 3"]:
    return np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255


def _write_words(sheet: Image.Image, names: list[str]) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for column, name in enumerate(names):
        draw.text((MARGIN + column * (SIDE + GAP) + SIDE // 2, HEAD // 2), name, _INK, font, anchor="mm")
    for row, name in enumerate(ROWS):
        draw.text((MARGIN - 8, HEAD + row * (SIDE + GAP) + SIDE // 2), name, _INK, font, anchor="rm")


if __name__ == "__main__":
    main()
