"""A study on a Ray cluster of two nodes, one of which is killed, and as jobs of submitit, with real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ..command import Command
from ..run.lives import results_of
from .conftest import counted, started
from .two_nodes import TwoNodes, two_nodes_up

pytestmark = pytest.mark.slow

RUN = "base/seed_3"
OPTIONS = ("--seeds", 1, "--only", "base")


@pytest.fixture
def whole(study: Path, tmp_path: Path, aakit: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run in one process of this machine."""
    monkeypatch.chdir(tmp_path)
    ran = aakit("ablate", study, "--out", "whole", *OPTIONS)
    assert ran.code == 0, ran.err
    (tmp_path / "counted").unlink()
    return tmp_path / "whole"


def assert_same(out: Path, whole: Path) -> None:
    assert results_of(out / RUN) == results_of(whole / RUN)


def first_at_work(place: Path, out: Path, steps: int = 2) -> int:
    """The process of a run that has taken so many steps, and is not at its end."""
    until = time.monotonic() + 200
    while time.monotonic() < until:
        for events in out.rglob("events.jsonl"):
            if events.read_text().count('"step"') >= steps and not (events.parent / "report.html").exists():
                for line in counted(place):
                    pid = int(line.split()[0])
                    if psutil.pid_exists(pid) and str(events.parent.relative_to(out)) in psutil.Process(pid).cmdline():
                        return pid
        time.sleep(0.05)
    raise AssertionError("nothing came to work")


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoNodes]:
    with two_nodes_up(monkeypatch) as nodes:
        yield nodes


def test_a_run_whose_node_is_killed_goes_on_on_another(
    two_nodes: TwoNodes, whole: Path, study: Path, tmp_path: Path
) -> None:
    command = started("ablate", study, "--out", "out", *OPTIONS, "--on", "ray", cwd=tmp_path, AAKIT_SLOW="0.3")
    two_nodes.kill_the_one_that_runs(first_at_work(tmp_path, tmp_path / "out"))
    out, err = command.communicate(timeout=400)
    assert command.returncode == 0, err + out
    assert len(counted(tmp_path)) == 2, "two processes have worked on it"
    assert_same(tmp_path / "out", whole)


def test_a_job_that_is_warned_saves_its_state_and_is_queued_again(whole: Path, study: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    command = started("ablate", study, "--out", "out", *OPTIONS, "--on", "local", cwd=tmp_path, AAKIT_SLOW="0.3")
    pid = first_at_work(tmp_path, tmp_path / "out")
    above = psutil.Process(pid).parent()
    assert above is not None
    os.kill(pid, signal.SIGUSR2)  # a scheduler warns all processes of a job
    above.send_signal(signal.SIGUSR2)
    out, err = command.communicate(timeout=400)
    assert command.returncode == 0, err + out
    assert len(counted(tmp_path)) == 2
    assert not list((tmp_path / "out").glob(".local-*")), "logs of what ended well are removed"
    assert_same(tmp_path / "out", whole)
