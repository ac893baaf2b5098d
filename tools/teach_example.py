"""Makes the photographs of the guide's example of `aakit teach`, and its picture from what `aakit predict` wrote.

    python tools/teach_example.py folders EXAMPLE
    aakit teach EXAMPLE/good --bad EXAMPLE/bad --out EXAMPLE/line.model --real-name "rusty metal"
    aakit predict EXAMPLE/line.model EXAMPLE/new --out EXAMPLE/found
    python tools/teach_example.py picture EXAMPLE docs/images/teach.webp

The photographs are of one surface that this package ships, with blended defects in the bad ones; the picture shows the
new ones of the highest scores, and others evenly through the rest.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
from aaclip_kit_plugins.blended_data import BlendedOptions, read_blended
from PIL import Image, ImageDraw, ImageFont

SURFACE: Final = "rusty_metal"
COUNTS: Final = {"good": (60, 0), "bad": (0, 10), "new": (30, 15)}
"""Good and bad photographs of each folder."""

COLUMNS: Final = 8
HIGHEST: Final = 4
SIDE: Final = 112
"""Pixels of one picture's side."""

LINE: Final = 17
"""Pixels of a line of words."""

GAP: Final = 4
_INK, _BAD = (34, 34, 34), (190, 30, 30)


def main() -> None:
    """Write the folders, or the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="what", required=True)
    parts.add_parser("folders").add_argument("example", type=Path, help="folder to write into")
    drawn = parts.add_parser("picture")
    drawn.add_argument("example", type=Path, help="the same folder")
    drawn.add_argument("out", type=Path, help="picture to write")
    arguments = parser.parse_args()
    if arguments.what == "folders":
        write_folders(arguments.example)
    else:
        picture(arguments.example).save(arguments.out, quality=80, method=6)


def write_folders(example: Path) -> None:
    """Write photographs in flat folders, numbered; of new ones the name says which are bad."""
    for seed, (folder, (good, bad)) in enumerate(COUNTS.items()):
        most = 2 * max(good, bad)
        options = BlendedOptions(split="test", classes=(SURFACE,), images_per_class=most, seed=seed + 1)
        data = read_blended(options)
        (example / folder).mkdir(parents=True)
        for label, count, name in ((0, good, "good"), (1, bad, "bad")):
            for index, sample in enumerate([one for one in data.samples if one.label == label][:count]):
                shutil.copy(sample.image, example / folder / f"{name}_{index:02}.png")


def picture(example: Path) -> Image.Image:
    """Return a column for each photograph that is shown: as it is, its heatmap, its score and decision."""
    lines = [json.loads(line) for line in (example / "found" / "scores.jsonl").read_text().splitlines()]
    lines.sort(key=lambda line: -line["score"])
    rest = np.linspace(HIGHEST, len(lines) - 1, COLUMNS - HIGHEST)
    shown = lines[:HIGHEST] + [lines[place] for place in rest.round().astype(int)]
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) - GAP, 2 * (SIDE + GAP) + 3 * LINE), "white")
    for column, line in enumerate(shown):
        _draw(sheet, column * (SIDE + GAP), line, example / "found")
    return sheet


def _draw(sheet: Image.Image, left: int, line: dict[str, Any], found: Path) -> None:
    path, draw, font = Path(line["path"]), ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for row, file in enumerate((path, found / line["heatmap"])):
        sheet.paste(Image.open(file).convert("RGB").resize((SIDE, SIDE)), (left, LINE + row * (SIDE + GAP)))
    draw.text((left + SIDE // 2, LINE // 2), path.stem, _INK, font, anchor="mm")
    below, ink = LINE + 2 * (SIDE + GAP), _BAD if line["decision"] == "anomalous" else _INK
    for row, words in enumerate((f"{line['score']:.2f}", line["decision"])):
        draw.text((left + SIDE // 2, below + LINE // 2 + row * LINE), words, ink, font, anchor="mm")


if __name__ == "__main__":
    main()
