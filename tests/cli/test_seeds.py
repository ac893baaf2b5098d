"""`aakit run --seeds`: one experiment, several seeds, and nothing twice."""

from __future__ import annotations

import json
import shutil
import signal
from itertools import count
from pathlib import Path

import pytest

from aaclip_kit.cli.run import _show_seeds
from aaclip_kit.cli.screen import Screen
from aaclip_kit.training.step import Step

from ..command import Command
from ..comparison.made import result, write_run
from .conftest import assert_plain, contents

pytestmark = pytest.mark.usefixtures("undrawn")

SHORT = [
    word
    for one in (
        "scheduler.text_epochs=[1]",
        "scheduler.image_epochs=[1]",
        "scheduler.rate_factors=[1]",
        "evaluation.heatmaps=0",
        "seed=5",
    )
    for word in ("--set", one)
]


def test_seeds_run_once_and_end_in_mean_and_deviation(aakit: Command, place: Path, small_experiment: Path) -> None:
    arguments = ("run", small_experiment, *SHORT, "--out", "out", "--device", "cpu")
    ran = aakit(*arguments, "--seeds", 2)
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in (place / "out").iterdir()) == ["seed_5", "seed_6"]
    found = [json.loads((place / "out" / f"seed_{seed}" / "metrics.json").read_text()) for seed in (5, 6)]
    first, second = (one["loops"][0]["mean"]["pixel_auroc"] for one in found)
    expected = f"{(first + second) / 2:.4f} ± {abs(first - second) / 2**0.5:.4f}"
    (line,) = [line for line in ran.out.splitlines() if line.startswith("quoted ")]
    assert expected in line
    alone = aakit("run", small_experiment, *SHORT, "--seed", 6, "--out", "alone", "--device", "cpu")
    assert alone.code == 0, alone.err
    same = [(place / folder / "metrics.json").read_bytes() for folder in ("alone", "out/seed_6")]
    assert same[0] == same[1], "a seed of a series is the same run as one by itself"
    before = contents(place)
    shutil.rmtree(place / "out" / "seed_5")
    again = aakit(*arguments, "--seeds", 2)
    assert again.code == 0, again.err
    assert "seed 5: to run\nseed 6: finished already, kept\n" in again.out
    after = contents(place)
    assert after["out/seed_5/metrics.json"] == before["out/seed_5/metrics.json"]
    assert after["out/seed_6/manifest.json"] == before["out/seed_6/manifest.json"]
    dry = aakit(*arguments, "--seeds", 3, "--dry-run")
    assert "seed 7: to run" in dry.out and "experiment small" in dry.out
    assert contents(place) == after


@pytest.mark.slow
def test_a_seed_that_was_stopped_goes_on(
    aakit: Command, place: Path, small_experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("run", small_experiment, *SHORT, "--seeds", 2, "--device", "cpu")
    assert aakit(*arguments, "--out", "whole").code == 0
    reported, steps = Screen.step, count(1)

    def step(screen: Screen, found: Step) -> None:
        reported(screen, found)
        if next(steps) == 3:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as once:
        once.setattr(Screen, "step", step)
        stopped = aakit(*arguments, "--out", "out")
    assert stopped.code == 143
    assert "go on with: aakit run --resume out/seed_5" in stopped.err
    again = aakit(*arguments, "--out", "out")
    assert again.code == 0, again.err
    assert "seed 5: left unfinished, goes on\nseed 6: to run\n" in again.out
    assert "going on from loop 1, phase " in again.out + again.err
    for seed in (5, 6):
        for name in ("metrics.json", "events.jsonl"):
            one, other = (place / out / f"seed_{seed}" / name for out in ("whole", "out"))
            assert one.read_bytes() == other.read_bytes()


def test_warnings_on_the_data_are_shown_once_a_run(aakit: Command, place: Path, small_experiment: Path) -> None:
    overlap = ("--set", 'data.test.classes=["red_cloth"]', "--set", "data.allow_overlap=true")
    ran = aakit("run", small_experiment, *SHORT, *overlap, "--out", "out", "--device", "cpu", "--seeds", 2)
    assert ran.code == 0, ran.err
    assert ran.out.count("warning    data.test: allow_overlap is set") == 2


def test_places_are_for_several_runs(aakit: Command, place: Path, small_experiment: Path) -> None:
    for option in (("--devices", 2), ("--jobs", 2), ("--on", "ray"), ("--resources", "cpus=2")):
        ran = aakit("run", small_experiment, "--out", "out", *option)
        assert_plain(ran)
        assert f"{option[0]}: is for several runs" in ran.err
    assert contents(place) == {}


def test_runs_that_plan_no_loop_have_a_table_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored = result({"a": {"pixel_auroc": 0.5}})
    for seed in (5, 6):
        folder = write_run(tmp_path / f"seed_{seed}", seed, [{"a": {"pixel_auroc": 0.5}}])
        metrics = {"before": scored, "rules": {}, "loops": [], "quoted": {"loop": 0, "rule": "last"}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    _show_seeds(tmp_path, [5, 6])
    shown = capsys.readouterr().out
    assert "0.5000 ± 0.0000" in shown and "loop 1" not in shown


def test_folders_of_others_are_refused_before_anything_runs(
    aakit: Command, place: Path, small_experiment: Path
) -> None:
    arguments = ("run", small_experiment, "--seeds", 2, "--out", "out")
    (place / "out" / "seed_3").mkdir(parents=True)
    (place / "out" / "seed_3" / "events.jsonl").touch()
    ran = aakit(*arguments)
    assert_plain(ran)
    assert "seed_3: holds a run that has not begun" in ran.err and "remove the folder" in ran.err
    text = small_experiment.read_text().replace("seed = 3", "seed = 9")
    (place / "out" / "seed_3" / "experiment.toml").write_text(text)
    (place / "out" / "seed_3" / "metrics.json").write_text(json.dumps({"quoted": {}, "before": result({"a": {}})}))
    ran = aakit(*arguments)
    assert_plain(ran)
    assert "holds a run of another experiment: seed (9 there, 3 here)" in ran.err
    assert [path.name for path in (place / "out").iterdir()] == ["seed_3"]
    ran = aakit("run", small_experiment, "--seeds", 2, "--out", "out/seed_3")
    assert_plain(ran)
    assert "holds a single run" in ran.err
