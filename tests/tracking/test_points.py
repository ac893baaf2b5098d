"""Events become points: names, steps through all phases, and lines that are still being written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import Point, UserError
from aaclip_kit.tracking.points import EventLines, StepCount


def step(phase: str, loss: float | None, loop: int = 1) -> dict[str, Any]:
    terms, norms = {"segmentation": 0.25}, {"adapter": 2.0, "head": None}
    return {
        "event": "step", "loop": loop, "phase": phase, "epoch": 1, "step": 1, "loss": loss, "terms": terms,
        "rate": 1e-3, "gradient_norms": norms,
    }  # fmt: skip


def evaluation(loop: int, **classes: float | None) -> dict[str, Any]:
    table = {name: {"pixel_auroc": value} for name, value in classes.items()}
    undefined = {"a": {"image_auroc": "one label"}}
    mean = {"pixel_auroc": 0.5, "image_auroc": None}
    return {"event": "evaluation", "loop": loop, "classes": table, "mean": mean, "undefined": undefined}


def test_steps_count_through_phases_and_loops_and_evaluations_stand_at_the_last() -> None:
    count = StepCount()
    events = [evaluation(0, a=0.25), step("text", 1.0), step("vision", 2.0), step("text", None, loop=2)]
    events += [{"event": "warning", "message": "x"}, {"event": "scales", "loop": 2, "scales": {"gate.0.w": 0.125}}]
    points = [count.point(event) for event in events]
    assert points[0] == Point(0, {"test/classes/a/pixel_auroc": 0.25, "test/mean/pixel_auroc": 0.5})
    assert points[1] == Point(
        1,
        {
            "train/text/loss": 1.0, "train/text/rate": 1e-3, "train/text/epoch": 1, "train/text/loop": 1,
            "train/text/terms/segmentation": 0.25, "train/text/gradient_norms/adapter": 2.0,
        },
    )  # fmt: skip
    assert points[2] is not None and (points[2].step, points[2].values["train/vision/loss"]) == (2, 2.0)
    assert points[3] is not None and points[3].step == 3 and "train/text/loss" not in points[3].values
    assert points[4] is None
    assert points[5] == Point(3, {"scales/gate.0.w": 0.125})


def test_names_are_letters_alone_and_what_is_no_finite_number_is_left_out() -> None:
    event = {"event": "validation", "mean": {"a\x1b[2J": 0.5, "b": True, "c": "1", "d": [1.0], "e": 1e400}}
    assert StepCount().point(event) == Point(0, {"validation/mean/a\\x1b[2J": 0.5})
    assert StepCount().point({"event": "step", "phase": "text", "terms": [3], "gradient_norms": "x"}) is None
    assert StepCount().point({"event": ["step"]}) is None


def test_a_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    file, lines = tmp_path / "events.jsonl", EventLines(tmp_path)
    file.write_text('{"event": "a"}\n{"event"')
    assert list(lines.new()) == [{"event": "a"}]
    assert list(lines.new()) == []
    with file.open("a") as more:
        more.write(': "b"}\n')
    assert list(lines.new()) == [{"event": "b"}] and lines.number == 2


def test_many_events_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aaclip_kit.tracking.points._CHUNK", 7)
    events = [{"event": "x", "number": number} for number in range(50)]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert list(EventLines(tmp_path).new()) == events


@pytest.mark.parametrize(("line", "said"), [("{", "line 2 is damaged"), ("[1]", "line 2 is no event")])
def test_a_line_that_is_no_event_is_told(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "events.jsonl").write_text(f'{{"event": "a"}}\n{line}\n')
    with pytest.raises(UserError, match=said):
        list(EventLines(tmp_path).new())


def test_events_that_were_cut_are_not_taken_for_others(tmp_path: Path) -> None:
    file, lines = tmp_path / "events.jsonl", EventLines(tmp_path)
    file.write_text('{"event": "a"}\n')
    list(lines.new())
    file.write_text("")
    with pytest.raises(UserError, match="has become shorter"):
        list(lines.new())
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        list(EventLines(tmp_path).new())
