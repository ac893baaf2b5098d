from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.files.lock import LOCK, locked
from aaclip_kit.record.run_folder import EVENTS, RUN_NAMES, RunFolder, default_run_path, made_folder, new_run


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_parents_are_made(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a" / "b")
    assert contents(run.path) == {"events.jsonl": b""}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path).path == tmp_path


@pytest.mark.parametrize("name", RUN_NAMES)
def test_a_folder_with_any_part_of_a_run_is_refused_untouched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("kept")
    with pytest.raises(UserError, match="already holds a run") as caught:
        RunFolder.create(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert contents(tmp_path) == {name: b"kept"}


def test_a_folder_of_something_else_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty"):
        RunFolder.create(tmp_path)
    assert contents(tmp_path) == {"letter.txt": b"dear"}


def test_a_file_and_a_path_through_a_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(UserError, match="is a file"):
        RunFolder.create(file)
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder.create(file / "below")
    assert contents(tmp_path) == {"file": b"kept"}


def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
        RunFolder.create(tmp_path / "run")


def test_of_two_runs_that_start_at_once_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFolder, "check_free", staticmethod(lambda path: None))
    RunFolder.create(tmp_path)
    with pytest.raises(UserError, match="already holds a run"):
        RunFolder.create(tmp_path)


def test_check_free_writes_nothing(tmp_path: Path) -> None:
    RunFolder.check_free(tmp_path / "a" / "b")
    RunFolder.check_free(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_events_are_lines_of_valid_json(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.event({"event": "step", "loss": math.nan, "terms": {"dice": math.inf, "focal": 0.5}, "pair": (1, -math.inf)})
    run.event({"event": "evaluation", "loop": 1, "name": "größe"})
    lines = (run.path / "events.jsonl").read_text().splitlines()
    first, second = (json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in lines)
    assert first == {"event": "step", "loss": None, "terms": {"dice": None, "focal": 0.5}, "pair": [1, None]}
    assert second == {"event": "evaluation", "loop": 1, "name": "größe"}


def test_an_event_is_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    for count in range(1, 4):
        run.event({"event": "step", "step": count})
        assert len((run.path / "events.jsonl").read_text().splitlines()) == count


def test_equal_metrics_are_equal_files_at_full_precision(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    file = run.path / "metrics.json"
    run.write_metrics({"loops": [], "before": {"mean": {"pixel_auroc": 1 / 3, "image_auroc": None}}})
    first = file.read_bytes()
    run.write_metrics({"before": {"mean": {"image_auroc": None, "pixel_auroc": 1 / 3}}, "loops": []})
    assert file.read_bytes() == first
    assert json.loads(first)["before"]["mean"] == {"pixel_auroc": 1 / 3, "image_auroc": None}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_metrics_that_are_no_numbers_are_refused_and_the_file_stays(tmp_path: Path, value: float) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_metrics({"loops": []})
    with pytest.raises(ValueError, match="JSON"):
        run.write_metrics({"before": value})
    assert json.loads((run.path / "metrics.json").read_text()) == {"loops": []}


def test_an_interrupted_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_metrics({"loops": [1]})

    def broken(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        run.write_metrics({"loops": [1, 2]})
    assert json.loads((run.path / "metrics.json").read_text()) == {"loops": [1]}


def test_the_names_of_the_files(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_experiment('name = "tiny"\n')
    run.write_manifest({"seeds": {"run": 111}})
    assert run.checkpoint_path(2) == run.path / "checkpoints" / "loop_2.safetensors"
    assert run.checkpoint_path(2, ".pt").name == "loop_2.pt"
    assert run.heatmaps == run.path / "heatmaps"
    assert sorted(entry.name for entry in run.path.iterdir()) == [
        "checkpoints",
        "events.jsonl",
        "experiment.toml",
        "heatmaps",
        "manifest.json",
    ]
    assert run.report.name == "report.html"


def test_the_default_path_carries_name_and_time_and_is_new(tmp_path: Path) -> None:
    now = datetime(2025, 3, 9, 4, 5, 6)
    first = default_run_path("feedback", now, tmp_path)
    assert first == tmp_path / "feedback-20250309-040506"
    first.mkdir()
    second = default_run_path("feedback", now, tmp_path)
    assert second.name == "feedback-20250309-040506-2"
    second.mkdir()
    assert default_run_path("feedback", now, tmp_path).name == "feedback-20250309-040506-3"
    assert default_run_path("v1.5", now).parts == ("runs", "v1.5-20250309-040506")


def test_a_refusal_leaves_no_trace(tmp_path: Path) -> None:
    out = tmp_path / "a" / "run"
    with pytest.raises(RuntimeError, match="no data"), new_run(out, "x"):
        assert contents(tmp_path) == {"a/run/run.lock": b"", "a/run/events.jsonl": b""}
        raise RuntimeError("no data")
    assert not list(tmp_path.iterdir())
    out.mkdir(parents=True)
    with locked(out):
        with pytest.raises(UserError, match="another run is at work"), new_run(out, "x"):
            pass
        assert contents(tmp_path) == {"a/run/run.lock": b""}
    (out / LOCK).unlink()
    with pytest.raises(RuntimeError, match="no data"), new_run(out, "x"):
        raise RuntimeError("no data")
    assert out.is_dir() and not list(out.iterdir()), "the user's empty folder stays"


def test_what_was_killed_before_it_had_begun_stands_in_nobodys_way(tmp_path: Path) -> None:
    for name in (LOCK, EVENTS):
        (tmp_path / name).touch()
    with new_run(tmp_path, "x") as folder:
        folder.write_experiment("name = 'x'")
    assert contents(tmp_path) == {"events.jsonl": b"", "run.lock": b"", "experiment.toml": b"name = 'x'"}
    with pytest.raises(UserError, match="already holds a run"), new_run(tmp_path, "x"):
        pass


def test_two_that_start_in_the_same_second_get_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["first", "first", "second"])
    monkeypatch.setattr("aaclip_kit.record.run_folder.default_run_path", lambda name: tmp_path / "runs" / next(names))
    with new_run(None, "x") as one, made_folder(None, "x") as other:
        assert (one.path.name, other.name) == ("first", "second")


@pytest.mark.parametrize("content", [b"", b'{"a": 1}\n', b'{"a": 1}\n\0\0\0\0\0\0\0\0\0', b'{"a": 1}\n{"event": '])
def test_events_that_a_power_cut_took_are_missed_at_once(tmp_path: Path, content: bytes) -> None:
    run = RunFolder.create(tmp_path / "run")
    (run.path / EVENTS).write_bytes(content)
    with pytest.raises(UserError, match="is not what the run's last state says"):
        run.cut_events(18)
    assert (run.path / EVENTS).read_bytes() == content
    run.cut_events(0)
    assert run.events_size() == 0


def test_events_are_on_the_disk_before_they_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, flushed = RunFolder.create(tmp_path / "run"), list[str]()
    run.event({"event": "step"})
    monkeypatch.setattr("os.fsync", lambda file: flushed.append(Path(f"/proc/self/fd/{file}").readlink().name))
    assert run.flushed_events_size() == run.events_size() > 0 and flushed == [EVENTS]
