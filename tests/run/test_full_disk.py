"""A run whose folder cannot be written any more: one message, nothing half-written, and it goes on where it was."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from aaclip_kit import PhasePlan, UserError
from aaclip_kit.cli.screen import QuietScreen
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.loop import execute
from aaclip_kit.run.snapshot import newest

from ..command import Command
from ..conftest import EXPERIMENT
from ..limits import files_of_at_most
from ..tiers import daily

pytestmark = pytest.mark.usefixtures("undrawn")


def small(experiment: Path) -> Run:
    return assemble(load(experiment, discover(), ["checkpoint.every=1 step"]))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_cannot_be_written_any_more_is_one_message_and_loses_nothing(
    tmp_path: Path, small_experiment: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run, out = small(small_experiment), tmp_path / "run"
    real, calls = os.fsync, list[int]()

    def failing(descriptor: int) -> None:
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if ".snapshot" in name:
            calls.append(descriptor)
            if len(calls) > 3:
                raise OSError(number, os.strerror(number))
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", failing)
        with pytest.raises(UserError, match="cannot be written") as caught:
            execute(run, RunFolder.create(out), QuietScreen())
    assert caught.value.fix == "make room or make the folder writable; what was saved before is whole"
    snapshot, lines = newest(out / "snapshots")
    assert snapshot is not None and not lines and not list((out / "snapshots").glob("*.part"))
    again = small(small_experiment)
    execute(again, RunFolder(out), QuietScreen(), snapshot)
    assert (out / "report.html").exists() and not (out / "snapshots").exists()


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    file = folder / "small.toml"
    file.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
    execute(small(file), RunFolder.create(folder / "run"), QuietScreen())
    return folder / "run"


@pytest.fixture(scope="module")
def last_phase(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path) -> Path:
    """The folder of a run that was stopped where its last phase begins: all but its first checkpoint is yet to come."""
    folder = tmp_path_factory.mktemp("stopped")
    file = folder / "small.toml"
    file.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
    with pytest.raises(KeyboardInterrupt):
        execute(small(file), RunFolder.create(folder / "run"), StopsInLastPhase())
    return folder / "run"


class StopsInLastPhase(QuietScreen):
    def phase(self, loop: int, plan: PhasePlan, steps: int) -> None:
        if (loop, plan.train) == (2, "vision"):
            raise KeyboardInterrupt


class Obstructs(QuietScreen):
    """From the first phase on, a file or folder of the run has its place taken by something else."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place, self.aside, self.waits = place, place.with_name(f"aside-{place.name}"), True

    def phase(self, loop: int, plan: PhasePlan, steps: int) -> None:
        if not self.waits:
            return
        self.waits = False
        if self.place.exists():
            self.place.rename(self.aside)
        self.place.parent.mkdir(exist_ok=True)
        if self.place.suffix:
            self.place.mkdir()
        else:
            self.place.touch()

    def clear(self) -> None:
        shutil.rmtree(self.place) if self.place.is_dir() else self.place.unlink()
        if self.aside.exists():
            self.aside.rename(self.place)


@pytest.mark.parametrize(
    "name",
    daily([
        "events.jsonl", "checkpoints/loop_1.safetensors", "checkpoints/loop_2.safetensors", "metrics.json",
        "curves.json", "calibration.json", "cases.npz", "heatmaps", "attention.json", "manifest.json", "report.html",
    ], "report.html"),
)  # fmt: skip
def test_whatever_cannot_be_written_the_run_says_so_and_goes_on_when_it_can(
    tmp_path: Path, small_experiment: Path, never_stopped: Path, last_phase: Path, name: str
) -> None:
    out = tmp_path / "run"
    if name == "checkpoints/loop_1.safetensors":
        folder, begun = RunFolder.create(out), None
    else:
        folder, begun = RunFolder(Path(shutil.copytree(last_phase, out))), newest(last_phase / "snapshots")[0]
        assert begun is not None
    obstacle = Obstructs(out / name)
    with pytest.raises(UserError, match="cannot be written") as caught:
        execute(small(small_experiment), folder, obstacle, begun)
    assert caught.value.where == str(out)
    assert caught.value.fix == "make room or make the folder writable; what was saved before is whole"
    assert not list(out.rglob("*.part"))
    obstacle.clear()
    execute(small(small_experiment), RunFolder(out), QuietScreen(), newest(out / "snapshots")[0])
    assert (out / "report.html").is_file() and not (out / "snapshots").exists()
    for same in ("metrics.json", "events.jsonl", "curves.json", "calibration.json", "cases.npz"):
        assert (out / same).read_bytes() == (never_stopped / same).read_bytes(), same


@pytest.mark.parametrize("command", ["report", "compare", "data manifest"])
def test_other_commands_leave_no_half_of_a_file_on_a_full_disk(
    aakit: Command, trained: Path, defects: Path, tmp_path: Path, command: str
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(trained, run)
    before = (run / "report.html").read_bytes()
    given = {
        "report": (run,),
        "compare": (run, trained, "--out", out),
        "data manifest": (defects, "--out", out / "list.jsonl"),
    }
    with files_of_at_most(1000):
        ran = aakit(*command.split(), *given[command])
    assert ran.code == 2 and ran.err.startswith("error: ") and "cannot be written (File too large)" in ran.err
    assert ran.err.count("\n") == 2
    assert (run / "report.html").read_bytes() == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and run not in path.parents]


def test_the_command_tells_once_how_to_go_on(aakit: Command, small_experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with files_of_at_most(10_000):
        ran = aakit("run", small_experiment, "--device", "cpu", "--out", out)
    assert ran.code == 2 and "cannot be written (File too large)" in ran.err
    assert (ran.out + ran.err).count(f"aakit run --resume {out}") == 1
    assert "no state of it is kept yet; when this is mended" in ran.out and not list((out / "snapshots").iterdir())
    ran = aakit("run", "--resume", out)
    assert ran.code == 0 and "it died before its first state was saved, and begins again" in ran.out
