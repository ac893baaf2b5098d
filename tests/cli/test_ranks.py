"""Commands that torchrun starts in two processes: one folder, the figures of one process, one message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from ..command import Command
from ..helpers import assert_close
from ..run.lives import results_of

CHANGED = ("switches.dropout=false", "scheduler.text_batch=3", "switches.score_normalisation=test_set")
LONGER = ("checkpoint.every=1 step", "scheduler.image_epochs=[6,4]", "scheduler.text_epochs=[3,2]")
FAILS_LATER = """
import os
from aaclip_kit import Loss, Options, hookimpl

class FailsOptions(Options):
    \"\"\"The second process alone fails, at the third step of a phase kind.\"\"\"

class Fails(Loss):
    needs = ("level_probabilities",)
    over_batch = "mean"
    calls = 0

    def __init__(self, options):
        super().__init__()

    def forward(self, *, level_probabilities):
        self.calls += 1
        if self.calls == 3 and os.environ.get("RANK") == "1":
            raise ValueError("out of order")
        return {"mean": sum(found.mean() for found in level_probabilities.values())}

@hookimpl
def register_losses(register):
    register("fails", Fails, FailsOptions)
"""


def launch(*arguments: object) -> tuple[list[str], dict[str, str]]:
    """Command and environment for `aakit` in two processes on one thread each."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = os.pathsep.join([str(root), environment.get("PYTHONPATH", "")])
    return [*torchrun, "-m", "aaclip_kit", *map(str, arguments)], environment


def in_two(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`aakit` in two processes; output is captured."""
    command, environment = launch(*arguments)
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)


def dies_in_two(*arguments: object, cwd: Path, folder: Path, steps: int) -> None:
    """`aakit run` in two processes, all of which are killed once the run in `folder` has so many steps."""
    command, environment = launch(*arguments)
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL) as launcher:
        while not (folder / "events.jsonl").exists() or len(steps_of(folder)) < steps:
            assert launcher.poll() is None, "it was over before it could be killed"
            time.sleep(0.01)
        family = [*psutil.Process(launcher.pid).children(recursive=True), psutil.Process(launcher.pid)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def steps_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    lines = [line for line in lines if line.endswith("\n")]
    return [event for event in map(json.loads, lines) if event["event"] == "step"]


def numbers(value: Any) -> list[float]:
    """Every number of plain data, in the order of the keys; -1 for what is undefined."""
    if isinstance(value, dict):
        return [number for key in sorted(value) for number in numbers(value[key])]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [-1.0 if value is None else float(value)] if isinstance(value, int | float) or value is None else []


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_in_two_processes_is_that_of_one(tmp_path: Path, small_experiment: Path, aakit: Command) -> None:
    chosen = [part for key in CHANGED for part in ("--set", key)]
    assert aakit("run", small_experiment, "--out", tmp_path / "one", *chosen).code == 0
    done = in_two("run", small_experiment, "--out", "two", *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one, two = tmp_path / "one", tmp_path / "two"
    begins = [line.partition(": ")[0] for line in done.stdout.splitlines()]
    assert begins.count("before training") == begins.count("report") == 1
    assert files_of(two) == files_of(one)
    steps, others = steps_of(one), steps_of(two)
    assert len(steps) == len(others) == 10
    assert_close([step["loss"] for step in others], [step["loss"] for step in steps], rtol=1e-5)
    found, expected = (numbers(json.loads((folder / "metrics.json").read_text())) for folder in (two, one))
    assert_close(found, expected, atol=1e-4)
    assert json.loads((two / "manifest.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_a_plan_says_how_many_images_of_a_batch_each_device_has(tmp_path: Path, small_experiment: Path) -> None:
    done = in_two("run", small_experiment, "--dry-run", "--set", "scheduler.image_batch=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "batch 4 (2 on each of 2 devices)" in done.stdout
    assert "batch 1 (1 on each of 1 of 2 devices; the others gain nothing)" in done.stdout


@pytest.mark.slow
def test_two_processes_that_die_go_on_as_if_they_had_not(tmp_path: Path, small_experiment: Path) -> None:
    chosen = [part for key in LONGER for part in ("--set", key)]
    whole = in_two("run", small_experiment, "--out", "whole", *chosen, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    run = tmp_path / "run"
    steps = len(steps_of(tmp_path / "whole")) // 2
    dies_in_two("run", small_experiment, "--out", run, *chosen, cwd=tmp_path, folder=run, steps=steps)
    assert not (run / "report.html").exists()
    again = in_two("run", "--resume", run, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert results_of(run) == results_of(tmp_path / "whole")


@pytest.mark.slow
def test_predictions_of_two_processes_are_those_of_one(
    tmp_path: Path, trained: Path, defects: Path, aakit: Command
) -> None:
    chosen = ("--set", "evaluation.batch_size=3", "--set", "device=cpu")
    assert aakit("predict", trained, defects, "--out", tmp_path / "one", *chosen).code == 0
    done = in_two("predict", trained, defects, "--out", "two", *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote two") == 1
    names = files_of(tmp_path / "one")
    assert files_of(tmp_path / "two") == names and len(names) == 36
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


@pytest.mark.slow
def test_one_process_that_fails_ends_all_and_is_heard_once(tmp_path: Path, small_experiment: Path) -> None:
    (tmp_path / "fails.py").write_text(FAILS_LATER)
    text = small_experiment.read_text().replace('use = "segmentation"', 'use = "fails"')
    small_experiment.write_text(f'plugins = ["./fails.py"]\n{text}')
    done = in_two("run", small_experiment, "--out", "two", cwd=tmp_path)
    assert done.returncode == 1  # torchrun's own, whatever its processes end with
    assert done.stderr.count("error: ") == 1 and "out of order (loop 2, text phase, step 1" in done.stderr
    assert "exitcode  : 2" in done.stderr
    assert "quoted" not in json.loads((tmp_path / "two" / "metrics.json").read_text())


@pytest.mark.slow
def test_what_one_process_does_is_refused_by_two(tmp_path: Path) -> None:
    done = in_two("list-plugins", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1 and "aakit list-plugins runs in one process, not in 2" in done.stderr
