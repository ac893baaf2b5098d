"""Line figures: what of a line and of the axes reaches the drawing."""

from __future__ import annotations

import base64
from dataclasses import replace

from aaclip_kit.report.figures import Axes, Line, line_figure

LINE = Line("both", [(0.0, 0.7), (1.0, 0.8)], "#0072b2")
AXES = Axes("references", "image AUROC")


def drawn(line: Line, axes: Axes = AXES) -> str:
    uri = line_figure("image AUROC", "curve", [line], axes).uri
    return base64.b64decode(uri.partition(",")[2]).decode()


def test_a_band_and_dots_are_drawn_where_a_line_has_them() -> None:
    plain = drawn(LINE)
    assert "FillBetween" not in plain
    assert "FillBetween" in drawn(replace(LINE, band=[(0.0, 0.6, 0.8), (1.0, 0.75, 0.85)]))
    assert drawn(replace(LINE, dots=True)).count("<use ") == plain.count("<use ") + 2


def test_places_stand_below_the_first_whole_numbers() -> None:
    words = drawn(LINE, replace(AXES, places=(0, 16)))
    assert ">16</text>" in words and ">0.2</text>" not in words
