"""`aakit predict` in shards: the same results as in one process, whatever dies."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from aaclip_kit.files.lock import locked

from ..cluster.conftest import started
from ..cluster.two_nodes import two_nodes_up
from ..command import Command, Ran
from .conftest import assert_plain, contents

CHOSEN = ("--set", "evaluation.batch_size=3", "--set", "device=cpu", "--map-threshold", "-1e9")

Before = Callable[[int], subprocess.CompletedProcess[str] | None]


@pytest.fixture
def sharded(
    aakit: Command, place: Path, trained: Path, defects: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Predict in shards of six images, each in this process in place of one of its own, after `before` it."""
    monkeypatch.setattr("aaclip_kit.inference.shards.MOST_IMAGES", 6)

    def run(*options: object, before: Before = lambda _: None) -> Ran:
        def one(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
            words = command[command.index("aaclip_kit") + 1 :]
            found = before(int(words[words.index("--shard") + 1]))
            if found is None:
                ran = aakit(*words)
                found = subprocess.CompletedProcess(command, ran.code, "", ran.err)
            return found

        with monkeypatch.context() as patch:
            patch.setattr("subprocess.run", one)
            return aakit("predict", trained, defects, "--out", place / "out", "--devices", 1, *CHOSEN, *options)

    return run


@pytest.fixture
def whole(aakit: Command, place: Path, trained: Path, defects: Path) -> dict[str, bytes | None]:
    assert aakit("predict", trained, defects, "--out", place / "whole", *CHOSEN).code == 0
    return contents(place / "whole")


def test_shards_give_the_files_of_one_process(
    sharded: Callable[..., Ran], place: Path, whole: dict[str, bytes | None]
) -> None:
    numbers = list[int]()
    ran = sharded(before=numbers.append)
    assert ran.code == 0, ran.err
    assert numbers == [1, 2, 3]
    assert contents(place / "out") == whole


def test_a_shard_that_died_is_scored_again_from_its_start(
    sharded: Callable[..., Ran], place: Path, whole: dict[str, bytes | None]
) -> None:
    def died(number: int) -> None:
        if number == 2:
            todo = (place / "out" / ".shard_2" / "todo.jsonl").read_text().splitlines()
            line = {"path": json.loads(todo[0])["image"], "class": "object", "score": 0.0}
            (place / "out" / ".2.scores.jsonl").write_text(json.dumps(line) + '\n{"path": "cut sho')
            (place / "out" / "heatmaps").mkdir(exist_ok=True)
            (place / "out" / "heatmaps" / f".{'0' * 32}.png.part").write_bytes(b"half")

    ran = sharded(before=died)
    assert ran.code == 0, ran.err
    assert contents(place / "out") == whole


def test_what_other_shards_have_scored_stays_and_the_same_command_goes_on(
    sharded: Callable[..., Ran], place: Path, whole: dict[str, bytes | None]
) -> None:
    def fails(number: int) -> subprocess.CompletedProcess[str] | None:
        return subprocess.CompletedProcess([], 1, "", "Ray has lost the task") if number == 2 else None

    ran = sharded(before=fails)
    assert_plain(ran)
    assert "shard_2: Ray has lost the task" in ran.err
    assert len((place / "out" / "scores.jsonl").read_text().splitlines()) == 10
    again = sharded()
    assert again.code == 0, again.err
    after = contents(place / "out")
    lines = {name: sorted((found[name] or b"").splitlines()) for found in (after,) for name in ("scores.jsonl",)}
    assert lines["scores.jsonl"] == sorted((whole["scores.jsonl"] or b"").splitlines())
    assert after.keys() == whole.keys()


def test_an_image_that_cannot_be_used_is_told_of_once(sharded: Callable[..., Ran], place: Path, data: Path) -> None:
    bad = next(data.rglob("test/*/000.png"))
    bad.write_text("no image")
    ran = sharded(data, "--on-bad-image", "skip")
    assert ran.code == 0, ran.err
    assert ", 1 skipped" in ran.out
    (line,) = (place / "out" / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["path"] == str(bad)


def test_a_shard_of_an_earlier_command_that_is_at_work_is_not_disturbed(
    sharded: Callable[..., Ran], place: Path
) -> None:
    folder = place / "out" / ".shard_1"
    folder.mkdir(parents=True)
    (place / "out" / "settings.json").write_text("{}")
    with locked(folder):
        ran = sharded()
        assert_plain(ran)
        assert "a task of an earlier command is still at work on a shard" in ran.err


def test_shards_of_what_is_still_to_come_are_refused(sharded: Callable[..., Ran]) -> None:
    ran = sharded("--watch")
    assert_plain(ran)
    assert "--watch: works in one process" in ran.err


@pytest.mark.slow
def test_a_node_that_is_killed_loses_nothing(
    place: Path, trained: Path, defects: Path, whole: dict[str, bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with two_nodes_up(monkeypatch) as nodes:
        command = started("predict", trained, defects, "--out", "out", *CHOSEN, "--on", "ray", "--jobs", 2, cwd=place)
        pid = 0
        while not pid and command.poll() is None:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    pid = process.pid if "--shard" in process.cmdline() else pid
        nodes.kill_the_one_that_runs(pid)
        out, err = command.communicate(timeout=400)
    assert command.returncode == 0, err + out
    assert contents(place / "out") == whole
