"""A run that ends after any step and goes on with nothing in its store ends with the bits of one that never did."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aaclip_kit.cli.screen import QuietScreen
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.loop import execute
from aaclip_kit.run.resume import take_up, unfinished
from aaclip_kit.run.snapshot import Snapshot, write_snapshot

from .lives import results_of

SETTINGS = (
    "checkpoint.every=1 step", "augmentation.views=1", "evaluation.heatmaps=0", "calibration.held_out=0",
    "scheduler.text_batch=3", "scheduler.text_epochs=[2,1]",
)  # fmt: skip
"""Eight training images in batches of three: frozen features come in parts of three and of two."""


WITHOUT_SETTINGS = ("metrics.json", "events.jsonl", "curves.json", "calibration.json")
"""Results that don't say with which settings they were made, as checkpoints do."""


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aaclip_kit.run.loop.write_report", lambda folder: folder)


def assembled(experiment: Path, *overrides: str) -> Run:
    return assemble(load(experiment, discover(), [*SETTINGS, *overrides]))


def whole(experiment: Path, folder: Path, *overrides: str) -> dict[str, object]:
    execute(assembled(experiment, *overrides), RunFolder.create(folder), QuietScreen())
    return results_of(folder)


def resumed(experiment: Path, folder: Path) -> dict[str, object]:
    """Go on in a run that has kept no feature."""
    found, snapshot, _ = unfinished(folder)
    run = assembled(experiment)
    take_up(found, snapshot, run.experiment.plugins, run.data.records)
    execute(run, found, QuietScreen(), snapshot)
    return results_of(folder)


@pytest.mark.slow
def test_ended_after_each_step_a_run_ends_with_the_same_bits(
    tmp_path: Path, small_experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[Path] = []

    def write_and_copy(folder: Path, snapshot: Snapshot) -> None:
        write_snapshot(folder, snapshot)
        if snapshot.state["descent"] is not None:
            states.append(Path(shutil.copytree(folder.parent, tmp_path / f"state{len(states)}")))

    with monkeypatch.context() as patch:
        patch.setattr("aaclip_kit.run.saving.write_snapshot", write_and_copy)
        expected = whole(small_experiment, tmp_path / "whole")
    assert len(states) == (2 + 1) * 3 + (1 + 1) * 2
    assert [state.name for state in states if resumed(small_experiment, state) != expected] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_features_that_are_kept_or_not_give_the_same_bits(tmp_path: Path, small_experiment: Path, kind: str) -> None:
    store = f"cache.folder={tmp_path / 'store'}"
    expected = whole(small_experiment, tmp_path / "off", store, "cache.features=off")
    for number in range(2):  # the second run finds what the first has left on disk
        found = whole(small_experiment, tmp_path / f"run{number}", store, f"cache.features={kind}")
        assert {name: found[name] for name in WITHOUT_SETTINGS} == {name: expected[name] for name in WITHOUT_SETTINGS}
