from __future__ import annotations

from xml.etree import ElementTree

from aaclip_kit.record.curves import curves_svg, loss_curves, thinned

from ..helpers import assert_close


def step(loop: int, phase: str, loss: float | None) -> dict[str, object]:
    return {"event": "step", "loop": loop, "phase": phase, "loss": loss}


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


def test_long_curves_are_averaged_and_short_ones_kept() -> None:
    curve = [(i, float(i % 2)) for i in range(1, 1001)]
    short = thinned(curve, 100)
    assert len(short) == 100
    assert_close([loss for _, loss in short], [0.5] * 100)
    assert_close([at for at, _ in short[:2]], [5.5, 15.5])
    assert thinned(curve[:50], 100) == curve[:50]


def test_the_drawing_is_one_svg_with_a_line_for_each_loop_and_always_the_same() -> None:
    loops = {1: [(1, 3.0), (2, 2.0)], 2: [(3, 2.5), (4, 1.0)], 3: []}
    drawn = curves_svg("text", loops)
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    for text in ("text phase", "loop 1", "loop 2", "loss", "step"):
        assert text in drawn
    assert curves_svg("text", loops) == drawn
