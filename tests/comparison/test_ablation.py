"""What an ablation keeps, runs again and goes on after, with runs that cost nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from aaclip_kit.cluster.here import Here
from aaclip_kit.comparison.ablation import Ablation
from aaclip_kit.comparison.ablation_plan import AblationRun, load_study
from aaclip_kit.experiment import resolved_toml
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import claimed

from ..build import Watcher
from ..conftest import EXPERIMENT
from .made import write_run

pytestmark = pytest.mark.usefixtures("undrawn")

STUDY = """
base = "small.toml"
seeds = 1
[variants.bad]
[variants.good]
[variants.again]
rescore = "bad"
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def ablation(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Ablation:
    """Its runs write synthetic metrics in no time."""
    (tmp_path / "small.toml").write_text(EXPERIMENT.format(model="ViT-B-32", data="nowhere"))
    (tmp_path / "study.toml").write_text(STUDY)

    def run_here(self: Ablation, run: AblationRun, progress: object) -> bool:
        with self._opened(run) as opened:
            assert opened is not None
        folder = write_run(self.out / run.place, run.seed, [{"a": {"pixel_auroc": 0.5, "image_auroc": 0.5}}])
        (folder / "experiment.toml").write_text(resolved_toml(run.experiment))
        (folder / "report.html").touch()
        return True

    monkeypatch.setattr(Ablation, "_run_here", run_here)
    registry = discover()
    return Ablation(load_study(tmp_path / "study.toml", registry), tmp_path / "out", registry, said.append)


def states(ablation: Ablation) -> dict[str, str]:
    return {run.variant: state for run, state in ablation.states().items()}


def test_the_others_go_on_whatever_ends_a_run(
    ablation: Ablation, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Ablation._run_here

    def run_here(self: Ablation, run: AblationRun, progress: Watcher) -> bool:
        if run.variant == "bad":
            raise RuntimeError("CUDA out of memory")
        return plain(self, run, progress)

    monkeypatch.setattr(Ablation, "_run_here", run_here)
    (fault,) = ablation.execute(None, Watcher())
    assert str(fault).startswith("bad/seed_3: RuntimeError: CUDA out of memory\n    fix: see aakit run ")
    assert said[0] == "bad/seed_3: failed, RuntimeError: CUDA out of memory"
    assert states(ablation) == {"bad": "free", "good": "finished", "again": "unfinished"}


def test_what_scores_weights_again_is_finished_once_these_are(ablation: Ablation) -> None:
    assert ablation.execute(None, Watcher()) == []
    assert states(ablation) == {"bad": "finished", "good": "finished", "again": "finished"}
    (ablation.out / "bad" / "seed_3" / "metrics.json").write_text('{"loops": []}')
    assert states(ablation) == {"bad": "unfinished", "good": "finished", "again": "unfinished"}


def test_what_a_run_warns_of_stands_below_its_result(
    ablation: Ablation, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Ablation._run_here

    def run_here(self: Ablation, run: AblationRun, progress: Watcher) -> bool:
        plain(self, run, progress)
        folder = self.out / run.place
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["data"]["test"]["notes"] = ["1 bad images are left out: x"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        events = [{"event": "step"}, {"event": "warning", "message": "warning: loop 1: no gradient"}]
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        return True

    monkeypatch.setattr(Ablation, "_run_here", run_here)
    ablation.execute(None, Watcher())
    assert said[:3] == [
        "bad/seed_3: pixel_auroc 0.5000, image_auroc 0.5000",
        "bad/seed_3: warning: data.test: 1 bad images are left out: x",
        "bad/seed_3: warning: loop 1: no gradient",
    ]
    assert len(said) == 11


def test_how_long_the_others_take_is_told_by_those_that_ended(
    ablation: Ablation, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = iter([0, 1, 3, 4])
    monkeypatch.setattr("aaclip_kit.comparison.ablation.monotonic", lambda: 3600.0 * next(hours))
    ablation.execute(None, Watcher())
    assert [line for line in said if "min left" in line] == [
        "1 of 3 runs ended, about 120 min left",
        "2 of 3 runs ended, about 90 min left",
    ]


def test_two_ablations_share_a_folder_each_leaves_the_other_what_it_works_on(
    ablation: Ablation, said: list[str]
) -> None:
    with claimed(ablation.out / "bad" / "seed_3", "bad") as busy:
        assert ablation.execute(None, Watcher()) == []
        assert said[-1] == f"again/seed_3: not done here: another process is at work in {busy.path}"
        assert said[0] == f"bad/seed_3: not done here: another process is at work in {busy.path}"
        assert states(ablation) == {"bad": "free", "good": "finished", "again": "free"}
    assert ablation.execute(None, Watcher()) == []
    assert states(ablation) == {"bad": "finished", "good": "finished", "again": "finished"}


def test_a_run_in_a_process_of_its_own_imports_nothing_of_the_working_directory(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = list[list[str]]()

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 2, "", "error: x: another run is at work in this folder")

    monkeypatch.setattr("subprocess.run", run)
    assert ablation.execute(Here(2), Watcher()) == []
    assert {command[-1] for command in commands} == {"bad/seed_3", "good/seed_3", "again/seed_3"}
    assert all(command[1:4] == ["-P", "-m", "aaclip_kit"] for command in commands)
