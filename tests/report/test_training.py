from __future__ import annotations

import base64
from xml.etree import ElementTree

from aaclip_kit.report.figures import Axes, Line, line_figure, shades, styles, thinned
from aaclip_kit.report.training_section import loss_curves, loss_figures, norm_figures

from ..helpers import assert_close
from .folders import NASTY


def step(loop: int, phase: str, loss: float | None, **norms: float | None) -> dict[str, object]:
    return {"event": "step", "loop": loop, "phase": phase, "loss": loss, "gradient_norms": norms}


def drawing(uri: str) -> str:
    head, _, data = uri.partition(",")
    assert head == "data:image/svg+xml;base64"
    return base64.b64decode(data).decode()


def test_steps_are_counted_through_the_loops_of_a_phase() -> None:
    events = [
        step(1, "text", 3.0),
        step(1, "vision", 9.0),
        {"event": "evaluation", "loop": 1},
        step(2, "text", 2.0),
        step(2, "text", 1.0),
    ]
    assert loss_curves(events) == {"text": {1: [(1, 3.0)], 2: [(2, 2.0), (3, 1.0)]}, "vision": {1: [(1, 9.0)]}}


def test_a_loss_that_was_no_number_leaves_a_gap() -> None:
    events = [step(1, "text", 3.0), step(1, "text", None), step(1, "text", 1.0)]
    assert loss_curves(events) == {"text": {1: [(1, 3.0), (3, 1.0)]}}


def test_a_figure_a_phase_and_a_line_a_loop() -> None:
    events = [step(loop, phase, 4.0 / loop) for loop in (1, 2) for phase in ("text", "vision")]
    text, vision = loss_figures([*events, step(3, "text", None)])
    assert (text.title, vision.title) == ("text phase: loss", "vision phase: loss")
    assert [line.name for line in text.key] == ["loop 1", "loop 2", "loop 3"]
    assert [line.points for line in text.key] == [[(1, 4.0)], [(2, 2.0)], []]
    assert "last loop: no values" in text.alt
    assert "last loop: 2 at first, 2 at last" in vision.alt


def test_the_prompts_own_weights_have_their_name_unless_a_stage_has_it() -> None:
    (figure,) = norm_figures([step(1, "text", 1.0, text_head=2.0), step(1, "text", 1.0, text_head=1.0)])
    assert [line.name for line in figure.key] == ["prompts"]
    (figure,) = norm_figures([step(1, "text", 1.0, text_head=2.0, prompts=3.0)] * 2)
    assert [line.name for line in figure.key] == ["text_head", "prompts"]


def test_gradient_norms_by_group_of_the_phases_that_have_them() -> None:
    events = [
        step(1, "text", 1.0, adapter=0.5, head=2.0),
        step(1, "text", 1.0, adapter=0.0, head=None),
        step(2, "text", 1.0, adapter=0.25, head=1.0, **{NASTY: 1.0}),
        {"event": "step", "loop": 1, "phase": "vision", "loss": 1.0},
    ]
    (figure,) = norm_figures(events)
    points = {line.name: line.points for line in figure.key}
    assert points == {"adapter": [(1, 0.5), (3, 0.25)], "head": [(1, 2.0), (3, 1.0)], NASTY: [(3, 1.0)]}
    assert "adapter: 0.5 at first, 0.25 at last" in figure.alt
    assert "alert" not in drawing(figure.uri)
    assert norm_figures(events[-1:]) == []


def test_long_curves_are_averaged_and_short_ones_kept() -> None:
    curve = [(float(i), float(i % 2)) for i in range(1, 1001)]
    short = thinned(curve, 100)
    assert len(short) == 100
    assert_close([loss for _, loss in short], [0.5] * 100)
    assert_close([at for at, _ in short[:2]], [5.5, 15.5])
    assert thinned(curve[:50], 100) == curve[:50]


def test_the_drawing_is_one_svg_with_each_line_in_its_colour_and_always_the_same() -> None:
    first, second = [(1.0, 3.0), (2.0, 2.0)], [(3.0, 2.5), (4.0, 1.0)]
    lines = [Line("a", first, "#123456"), Line("b", second, "#654321", dash="dashed")]
    axes = Axes("step", "loss", x_limits=(0.0, 5.0), y_limits=(0.0, 4.0), borders=(2.5,))
    drawn = drawing(line_figure("title", "alt", lines, axes).uri)
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    for text in ("loss", "step", "#123456", "#654321", "stroke-dasharray"):
        assert text in drawn
    assert drawing(line_figure("title", "alt", lines, axes).uri) == drawn


def contrast_with_white(colour: str) -> float:
    """WCAG 2: (1 + 0.05) / (relative luminance + 0.05)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 1.05 / (sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) + 0.05)


def test_lines_differ_and_can_be_seen_on_white() -> None:
    endless = styles()
    twenty = [next(endless) for _ in range(20)]
    assert len(set(twenty)) == 20
    assert next(endless) == twenty[0]
    assert min(contrast_with_white(colour) for colour, _ in twenty) >= 3
    for count in (1, 2, 3, 10):
        assert len(shades(count)) == count
        assert min(map(contrast_with_white, shades(count))) >= 2
