"""Trackers while a run goes: no byte of the run depends on them, and none that dies is waited for."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from aaclip_kit.cli.screen import QuietScreen
from aaclip_kit.distributed.ranks import Ranks
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder, read_events
from aaclip_kit.run.assemble import assemble
from aaclip_kit.run.execute import execute_to_the_end
from aaclip_kit.run.loop import Execution, execute
from aaclip_kit.tracking import live

from ..command import Command
from ..run.lives import results_of

pytestmark = pytest.mark.usefixtures("undrawn")

FILE = Path(__file__).with_name("recorded.py")
SAME = ("calibration.held_out=0.5", "device=cpu")
"""The keys of the fixture `trained`, whose bytes a run with trackers must have."""


class Told(QuietScreen):
    """Keeps what a run says; `act` is called when a phase begins."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.act = act

    def message(self, text: str) -> None:
        self.lines.append(text)

    def phase(self, *arguments: Any) -> None:
        self.act()
        super().phase(*arguments)


def tracked(*names: str) -> tuple[str, str]:
    """Overrides that give a run these trackers."""
    tables = ", ".join(f'{{use = "{name}"}}' for name in names)
    return f'plugins=["{FILE}"]', f"trackers=[{tables}]"


def scalars(run: Path) -> list[tuple[str, str, str]]:
    with (run / "tracking/csv/scalars.csv").open() as file:
        return [(row["step"], row["name"], row["value"]) for row in csv.DictReader(file)]


def same_results(run: Path, other: Path) -> None:
    for name in ("metrics.json", "calibration.json", "curves.json", "cases.npz", "events.jsonl"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


def test_a_run_with_a_tracker_leaves_the_same_bytes(small_experiment: Path, trained: Path, tmp_path: Path) -> None:
    run, told = tmp_path / "run", Told()
    experiment = load(small_experiment, discover(), [*SAME, 'trackers=[{use = "csv"}]'])
    execute(assemble(experiment), RunFolder.create(run), told)
    assert not [line for line in told.lines if "tracker" in line]
    same_results(run, trained)
    assert (run / "experiment.toml").read_bytes() == (trained / "experiment.toml").read_bytes()
    assert results_of(run) == results_of(trained)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["plugins"] == json.loads((trained / "manifest.json").read_text())["plugins"]
    found, names = scalars(run), [name for _, name, _ in scalars(run)]
    steps = sum(event["event"] == "step" for event in read_events(run))
    assert sum(name in ("train/text/loss", "train/vision/loss") for name in names) == steps
    assert names.count("test/mean/pixel_auroc") == 3 and max(Counter(found).values()) == 1
    pictures = {path.name: path.read_bytes() for path in (run / "heatmaps").iterdir()}
    assert {path.name: path.read_bytes() for path in (run / "tracking/csv/heatmaps").iterdir()} == pictures


def test_trackers_that_fail_are_told_once_and_the_run_goes_on(
    small_experiment: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PATIENCE", 3.0)
    failing = {
        "refuses": r"tracker 'refuses' raised ConnectionError in `begin`: no server",
        "raises": "the quota is used up",
        "dies": "its process ended (signal 9;",
        "hangs": "a call took more than 3 seconds",
    }
    run, told = tmp_path / "run", Told()
    experiment = load(small_experiment, discover(), [*SAME, *tracked("recorded", *failing)])
    execute(assemble(experiment), RunFolder.create(run), told)
    same_results(run, trained)
    warnings = [line for line in told.lines if "is dropped" in line]
    for name, reason in failing.items():
        (line,) = [line for line in warnings if line.startswith(f"warning: tracker {name} is dropped: ")]
        assert reason in line and f"aakit track {run} --to {name} sends the rest" in line
    assert len(warnings) == len(failing)
    assert json.loads((run / "tracking/recorded/points.jsonl").read_text().splitlines()[-1]) == [-1, {"finished": True}]


def test_a_tracker_that_is_killed_does_not_stop_the_run_and_is_sent_the_rest_later(
    aakit: Command, small_experiment: Path, trained: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill() -> None:
        if killed:
            return
        (child,) = [one for one in psutil.Process().children() if "aaclip_kit.tracking" in one.cmdline()]
        table, until = tmp_path / "run/tracking/csv/scalars.csv", time.monotonic() + 60
        while not (table.exists() and "pixel_auroc" in table.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and left for the run to find
        killed.append(child.pid)

    run, told = tmp_path / "run", Told(kill)
    experiment = load(small_experiment, discover(), [*SAME, 'trackers=[{use = "csv"}]'])
    execute(assemble(experiment), RunFolder.create(run), told)
    same_results(run, trained)
    (line,) = [line for line in told.lines if "tracker" in line]
    assert line.startswith(f"warning: tracker csv is dropped: its process ended (signal {signal.SIGKILL:d};")
    before = scalars(run)
    ran = aakit("track", run, "--to", "csv")
    assert ran.code == 0 and "pictures are sent" in ran.out
    after = scalars(run)
    assert after[: len(before)] == before and len(after) > len(before) and max(Counter(after).values()) == 1
    straight = Path(shutil.copytree(run, tmp_path / "straight", ignore=shutil.ignore_patterns("tracking")))
    assert aakit("track", straight, "--to", "csv").code == 0
    assert scalars(straight) == after


def test_a_slow_tracker_is_not_waited_for(
    small_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "AT_THE_END", 0.2)
    run, told = tmp_path / "run", Told()
    execute(assemble(load(small_experiment, discover(), [*SAME, *tracked("slow")])), RunFolder.create(run), told)
    (line,) = [line for line in told.lines if "tracker" in line]
    assert "slow is dropped: it has not sent everything yet, and is not waited for" in line
    assert not [one for one in psutil.Process().children() if "aaclip_kit.tracking" in " ".join(one.cmdline())]


def test_no_point_comes_twice_where_a_run_dies_and_goes_on(
    aakit: Command, small_experiment: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WHEN_STOPPED", 60.0)

    class Dies(Told):
        def step(self, step: Any) -> None:
            if (step.loop, step.phase, step.step) == (2, "vision", 1):
                raise RuntimeError("out of power")  # after its event, and before the next state

    run = tmp_path / "run"
    experiment = load(small_experiment, discover(), [*SAME, *tracked("csv", "recorded")])
    with pytest.raises(RuntimeError, match="out of power"):
        execute_to_the_end(assemble(experiment), RunFolder.create(run), Dies())
    before, sent = scalars(run), json.loads((run / "tracking/csv/sent.json").read_text())
    assert sent["events"] == len(read_events(run)) and not sent["finished"]
    ran = aakit("run", "--resume", run, "--experiment", run / "experiment.toml")
    assert ran.code == 0 and "going on from loop 2, phase 2, step 0" in ran.out and "tracker" not in ran.out
    after = scalars(run)
    assert after[: len(before)] == before and max(Counter(after).values()) == 1
    same_results(run, trained)
    straight = Path(shutil.copytree(trained, tmp_path / "straight"))
    assert aakit("track", straight, "--to", "csv").code == 0
    assert after == scalars(straight)
    lines = (run / "tracking/recorded/points.jsonl").read_text().splitlines()
    assert [json.loads(line)[1] for line in lines if line.startswith("[-1")] == [
        {"finished": False},
        {"finished": True},
    ]


def test_learnt_scales_of_stages_are_written_down_and_sent(small_experiment: Path, tmp_path: Path) -> None:
    experiment = load(small_experiment, discover(), [*SAME, "scheduler.use=none", 'trackers=[{use = "csv"}]'])
    run, assembled = tmp_path / "run", assemble(experiment)
    (_, name, stage), *_ = assembled.model.slots.of("text")
    assert not assembled.model.slots.learnt_scales()
    stage.gate = nn.Parameter(torch.tensor(0.375))
    execute(assembled, RunFolder.create(run), Told())
    (event,) = [event for event in read_events(run) if event["event"] == "scales"]
    ((key, value),) = event["scales"].items()
    assert key.startswith(f"{name}.") and key.endswith(".gate") and (event["loop"], value) == (0, 0.375)
    assert ("0", f"scales/{key}", "0.375") in scalars(run)


def test_adding_or_removing_a_tracker_changes_nothing_for_a_series(
    aakit: Command, small_experiment: Path, tmp_path: Path
) -> None:
    short = [f"scheduler.{key}=[1]" for key in ("text_epochs", "image_epochs", "rate_factors")]
    command = ["run", small_experiment, "--seeds", 1, "--out", tmp_path / "runs", "--set", "evaluation.heatmaps=0"]
    command += [part for key in short for part in ("--set", key)]
    assert aakit(*command).code == 0
    ran = aakit(*command, "--set", 'trackers=[{use = "csv"}]')
    assert ran.code == 0 and "seed 3: finished already, kept" in ran.out
    run = tmp_path / "runs" / "seed_3"
    metrics = run / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"quoted"', '"unquoted"'))
    ran = aakit(*command, "--set", 'trackers=[{use = "csv"}]')
    assert ran.code == 0 and "seed 3: left unfinished, goes on" in ran.out
    assert (run / "trackers.toml").is_file() and scalars(run)


@pytest.mark.parametrize(
    ("trackers", "said"),
    [
        ('[{use = "wandb"}]', "trackers.0: use: needs the package wandb, which is not installed"),
        ('[{use = "csv"}, {use = "tensorboard"}]', "trackers.1: use: needs the package tensorboard"),
        ('[{use = "csv", foldr = "x"}]', "trackers.0.foldr: unknown key"),
        ('[{use = "csw"}]', "there is no tracker called 'csw'"),
        ('[{use = "csv"}, {use = "csv"}]', "trackers.1: is there twice"),
        ('{use = "csv"}', "trackers: input should be an array"),
        ("[3]", "trackers.0: input should be a table"),
        ('[{folder = "x"}]', "trackers.0.use: is missing"),
        ('[{use = "csv", folder = "FILE"}]', "trackers.0: folder: FILE is a file"),
    ],
)
def test_what_could_not_work_is_told_before_anything_is_written(
    aakit: Command, small_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trackers: str, said: str
) -> None:
    monkeypatch.setattr("aaclip_kit_plugins.trackers.needed.find_spec", lambda package: None)
    file, out = tmp_path / "a_file", tmp_path / "out"
    file.touch()
    ran = aakit("run", small_experiment, "--out", out, "--set", f"trackers={trackers.replace('FILE', str(file))}")
    assert ran.code == 2 and said.replace("FILE", str(file)) in ran.err and "fix: " in ran.err, ran.err
    assert not out.exists()


def test_of_several_processes_the_first_alone_tracks(small_experiment: Path, tmp_path: Path) -> None:
    for rank, count in ((0, 1), (1, 0)):
        experiment = load(small_experiment, discover(), ["workers=0", 'trackers=[{use = "csv"}]'])
        run = assemble(experiment, Ranks(rank, 2))
        one = Execution(run, RunFolder(tmp_path), QuietScreen())
        assert len(one.trackers._trackers) == count
