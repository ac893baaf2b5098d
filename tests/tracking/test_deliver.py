"""One tracker's way through a run: everything once, whatever happens on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import Point, UserError
from aaclip_kit.files.lock import InUseError
from aaclip_kit.plugin_host.registry import Component, Plugin
from aaclip_kit.record.run_folder import read_events
from aaclip_kit.tracking import deliver
from aaclip_kit.tracking.deliver import Delivery
from aaclip_kit.tracking.place import Place, Sent

from .recorded import Recorded, RecordedOptions

COMPONENT = Component("tracker", "recorded", Recorded, RecordedOptions, Plugin("it", "it", "package", "1"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A finished run's folder."""
    return Path(shutil.copytree(trained, tmp_path / "first"))


def delivery(run: Path, tracker: Recorded | None = None) -> Delivery:
    place = Place.of(run, "recorded", {})
    place.path.mkdir(parents=True, exist_ok=True)
    return Delivery(run, COMPONENT, tracker or Recorded(RecordedOptions()), place)


def whole(one: Delivery) -> None:
    one.begin()
    one.events()
    one.end()


def sent(run: Path) -> list[Any]:
    return [json.loads(line) for line in (run / "tracking/recorded/points.jsonl").read_text().splitlines()]


def test_all_events_and_pictures_come_once_and_in_order(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "AT_ONCE", 3)
    tracker = Recorded(RecordedOptions())
    one = delivery(run, tracker)
    whole(one)
    events = read_events(run)
    steps = sum(event["event"] == "step" for event in events)
    assert steps == 4
    *points, last = sent(run)
    pictures = [values for step, values in points if any(name.startswith("heatmaps/") for name in values)]
    assert [next(iter(values.values())) for values in pictures] == sorted(
        file.name for file in (run / "heatmaps").iterdir()
    )
    losses = [step for step, values in points if any(name.endswith("/loss") for name in values)]
    assert losses == list(range(1, steps + 1)) and last == [-1, {"finished": True}]
    evaluations = [values["test/mean/pixel_auroc"] for _, values in points if "test/mean/pixel_auroc" in values]
    metrics = json.loads((run / "metrics.json").read_text())
    assert evaluations == [one["mean"]["pixel_auroc"] for one in (metrics["before"], *metrics["loops"])]
    told = tracker.run
    assert told.name == "first" and told.experiment == (run / "experiment.toml").read_text() and told.earlier is None
    assert told.settings["stages.text_adapter.tower"] == "text" and told.settings["seed"] == 3
    assert one.is_complete() and delivery(run).is_complete()
    before = sent(run)
    delivery(run).begin()
    again = delivery(run)
    again.begin()
    again.events()
    assert sent(run) == before


def test_events_that_a_resumed_run_writes_again_are_not_sent_again(run: Path) -> None:
    (run / "report.html").unlink()
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(lines[:7]))
    one = delivery(run)
    one.begin()
    one.events()
    first = sent(run)
    (run / "events.jsonl").write_text("".join(lines[:4]))  # the last state is of then
    other = delivery(run)
    other.begin()
    other.events()
    assert sent(run) == first
    with (run / "events.jsonl").open("a") as file:
        file.writelines(lines[4:])
    other.events()
    other.end()
    straight = Path(shutil.copytree(run, run.with_name("straight"), ignore=shutil.ignore_patterns("tracking")))
    whole(delivery(straight))
    assert sent(run) == sent(straight)


def test_what_a_tracker_refused_is_sent_later(run: Path) -> None:
    class Refuses(Recorded):
        def scalars(self, points: Sequence[Point]) -> None:
            raise TimeoutError("no answer")

    one = delivery(run, Refuses(RecordedOptions()))
    one.begin()
    with pytest.raises(UserError, match=r"tracker 'recorded' raised TimeoutError in `scalars`: no answer") as told:
        one.events()
    assert "aakit show recorded" in str(told.value.fix)
    whole(delivery(run))
    steps = sum(event["event"] == "step" for event in read_events(run))
    assert sum("train/text/loss" in values or "train/vision/loss" in values for _, values in sent(run)) == steps


def test_what_was_handed_over_by_a_process_that_died_is_not_sent_twice(run: Path) -> None:
    class Killed(Recorded):
        def scalars(self, points: Sequence[Point]) -> None:
            super().scalars(points)
            raise KeyboardInterrupt

    one = delivery(run, Killed(RecordedOptions()))
    one.begin()
    with pytest.raises(KeyboardInterrupt):
        one.events()
    before = sent(run)
    whole(delivery(run))
    points = [json.dumps(point) for point in sent(run)]
    assert points[: len(before)] == [json.dumps(point) for point in before] and len(set(points)) == len(points)


def test_a_run_that_is_not_finished_ends_without_pictures(run: Path) -> None:
    metrics = run / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"quoted"', '"unquoted"'))
    one = delivery(run)
    whole(one)
    assert sent(run)[-1] == [-1, {"finished": False}] and not one.is_complete()
    assert not any(name.startswith("heatmaps/") for _, values in sent(run) for name in values)


def test_one_process_at_a_time_sends(run: Path) -> None:
    place = Place.of(run, "recorded", {})
    with place.alone(), pytest.raises(InUseError, match="another process is sending this run there now"), place.alone():
        pass


def test_other_options_are_another_place(tmp_path: Path) -> None:
    own, other = Place.of(tmp_path, "csv", {"use": "csv"}), Place.of(tmp_path, "csv", {"use": "csv", "folder": "x"})
    assert own.path == tmp_path / "tracking" / "csv" and other.path != own.path
    assert other == Place.of(tmp_path, "csv", {"folder": "x"})


@pytest.mark.parametrize("text", ["{", "[]", '{"events": 1, "what": 2}'])
def test_a_damaged_record_of_what_was_sent_is_told(tmp_path: Path, text: str) -> None:
    place = Place.of(tmp_path, "csv", {})
    assert place.sent == Sent()
    place.path.mkdir(parents=True)
    (place.path / "sent.json").write_text(text)
    with pytest.raises(UserError):
        _ = place.sent
