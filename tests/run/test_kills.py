"""A run that dies at any moment, however often, ends as one that never did: bit for bit.

`AAKIT_KILLS` sets how many times it is killed, 50 in `make test-all`; a death is counted by what the run was doing.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit.record.run_folder import read_events
from aaclip_kit.run.snapshot import newest

from ..command import Command
from .lives import nursery, results_of

KILLS = int(os.environ.get("AAKIT_KILLS", "3"))
SETTINGS = [
    "checkpoint.every=1 step", "augmentation.views=1", "evaluation.heatmaps=2",
    "scheduler.text_epochs=[3,2]", "scheduler.image_epochs=[4,3]",
]  # fmt: skip


def last_steps(run: Path) -> dict[tuple[int, str], int]:
    """The number of the last step of each loop's phases."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return {(event["loop"], event["phase"]): event["step"] for event in events if event["event"] == "step"}


def doing(run: Path, last: dict[tuple[int, str], int]) -> str:
    """What a run was doing when it died, by what it has left."""
    if list(run.glob("snapshots/*.part")) or list(run.glob("checkpoints/*.part")):
        return "saving"
    if (run / "metrics.json").exists() and "quoted" in json.loads((run / "metrics.json").read_text()):
        return "reporting"
    lines = (run / "events.jsonl").read_text().splitlines() if (run / "events.jsonl").exists() else []
    event: dict[str, Any] = json.loads(lines[-1]) if lines else {"event": "validation"}
    if event["event"] == "step" and (event["phase"] == "text" or event["step"] < last[event["loop"], "vision"]):
        return "training"
    if event["event"] == "evaluation":
        return "training" if event["loop"] < max(loop for loop, _ in last) else "reporting"
    return "evaluating"


@pytest.mark.slow
@pytest.mark.timeout(20 * max(KILLS, 50))
def test_killed_at_random_moments_it_ends_as_if_nothing_had_been(tmp_path: Path, small_experiment: Path) -> None:
    chance, deaths, ends = random.Random(7), Counter[str](), 0
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    with nursery(tmp_path) as home:
        assert home.live("run", small_experiment, "--out", tmp_path / "whole", *sets) == 0, home.log.read_text()
        expected, last = results_of(tmp_path / "whole"), last_steps(tmp_path / "whole")
        length = float(json.loads((tmp_path / "whole" / "manifest.json").read_text())["seconds"])
        while deaths.total() < KILLS:
            run = tmp_path / f"run{ends}"
            first = ("run", small_experiment, "--out", run, *sets)
            code, lives = -9, 0
            while code != 0:
                begun = (run / "experiment.toml").exists()
                if not begun:
                    shutil.rmtree(run, ignore_errors=True)
                # Most die early, since drawing the pictures and the report takes most of so small a run.
                dies = deaths.total() < KILLS and lives < 5
                after = length * chance.random() ** 3 if dies else None
                # One death in ten is anywhere, loading included.
                at_work = run if chance.random() < 0.9 else None
                command = ("run", "--resume", run) if begun else first
                code = home.live(*command, kill_after=after, at_work=at_work)
                assert code in (0, -9), home.log.read_text()[-3000:]
                if code == -9:
                    deaths["loading" if at_work is None else doing(run, last)] += 1
                    if (run / "report.html").exists() and not (run / "snapshots").exists():
                        code = 0  # it had nothing left to do but to end
                lives += 1
            assert results_of(run) == expected, f"after {lives} lives"
            assert (run / "report.html").exists() and not (run / "snapshots").exists()
            ends += 1
    print(f"{deaths.total()} deaths in {ends} runs: {dict(deaths)}")
    assert KILLS < 50 or all(deaths[kind] for kind in ("training", "evaluating", "reporting")), deaths


def test_resuming_what_is_finished_or_is_no_run_is_refused(aakit: Command, tmp_path: Path, trained: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    for folder, said in ((tmp_path / "run", "is finished"), (tmp_path, "holds no run")):
        ran = aakit("run", "--resume", folder)
        assert ran.code == 2 and said in ran.err


@pytest.mark.slow
def test_a_signal_ends_it_with_its_state_saved(tmp_path: Path, small_experiment: Path) -> None:
    sets = ["--set", "scheduler.image_epochs=[40,1]", "--set", "checkpoint.every=never"]
    with nursery(tmp_path) as home:
        assert home.live("run", small_experiment, "--out", tmp_path / "whole", *sets) == 0, home.log.read_text()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            run = tmp_path / f"run{number}"
            command = ("run", small_experiment, "--out", run, *sets)
            code = home.live(*command, signal_when=partial(_trains_the_image_tower, run), number=number)
            assert code == 128 + number, home.log.read_text()[-3000:]
            assert f"go on with: aakit run --resume {run}" in home.log.read_text()
            assert home.live("run", "--resume", run) == 0, home.log.read_text()[-3000:]
            assert results_of(run) == results_of(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_signal_to_all_of_its_processes_ends_it_as_one_to_itself_does(tmp_path: Path, small_experiment: Path) -> None:
    run, command = tmp_path / "run", [sys.executable, "-P", "-m", "aaclip_kit", "run", str(small_experiment)]
    sets = ["workers=2", "scheduler.image_epochs=[40,1]", "checkpoint.every=never"]
    command += ["--out", str(run), *(part for one in sets for part in ("--set", one))]
    with subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not _trains_the_image_tower(run):
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 143 and f"go on with: aakit run --resume {run}" in said, said
    snapshot = newest(run / "snapshots")[0]
    steps = [event for event in read_events(run) if event["event"] == "step"]
    assert snapshot is not None and snapshot.state["run"]["at"] == [1, 1, steps[-1]["step"]], "nothing is unsaved"


def _trains_the_image_tower(run: Path) -> bool:
    """Whether the run has begun its longest phase, of 80 steps."""
    events = run / "events.jsonl"
    return events.exists() and '"vision"' in events.read_text()
