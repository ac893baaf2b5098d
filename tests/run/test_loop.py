"""The main job on a tiny random backbone: three loops end to end, as the command runs it."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from aaclip_kit.checkpoints.checkpoint import read, trained_state
from aaclip_kit.contracts.options import TOWERS
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder, is_finished
from aaclip_kit.run.assemble import assemble, build_phase
from aaclip_kit.run.loop import Execution

from ..build import Watcher, build, plan_for, run_file
from ..helpers import assert_close

pytestmark = pytest.mark.usefixtures("undrawn")

ONE_LOOP = ("scheduler.text_epochs=[1]", "scheduler.image_epochs=[1]", "scheduler.rate_factors=[1.0]")


def test_two_loops_leave_what_the_design_names(small_experiment: Path, tmp_path: Path) -> None:
    metrics, watcher = run_file(small_experiment, tmp_path / "run")
    assert watcher.phases == [(1, "text"), (1, "vision"), (2, "text"), (2, "vision")]
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert written == metrics
    assert [loop["loop"] for loop in written["loops"]] == [1, 2]
    assert watcher.means == [(0, metrics["before"]["mean"]), *((n["loop"], n["mean"]) for n in metrics["loops"])]
    assert set(written["before"]["classes"]) == {"green_wood"}
    assert written["quoted"] == {"loop": 2, "rule": "last"}
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "step" for event in events) == len(watcher.steps)
    for name in ("experiment.toml", "manifest.json", "report.html"):
        assert (tmp_path / "run" / name).stat().st_size > 100
    assert len(list((tmp_path / "run" / "heatmaps").glob("*.png"))) == 8


@pytest.mark.parametrize(
    ("stopped_in", "finished"), [("save_pictures", False), ("write_report", True)], ids=["pictures", "report"]
)
def test_a_run_that_is_stopped_is_finished_once_all_but_its_report_is_there(
    small_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_in: str, finished: bool
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"aaclip_kit.run.loop.{stopped_in}", stop)
    with pytest.raises(KeyboardInterrupt):
        run_file(small_experiment, tmp_path / "run")
    assert is_finished(tmp_path / "run") is finished
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert ("quoted" in written) is finished
    assert [loop["loop"] for loop in written["loops"]] == [1, 2], "what was measured stays"


def test_the_curves_are_those_of_the_reported_loop(small_experiment: Path, tmp_path: Path) -> None:
    metrics = run_file(small_experiment, tmp_path / "run")[0]
    written = json.loads((tmp_path / "run" / "curves.json").read_text())
    assert written["loop"] == metrics["quoted"]["loop"]
    classes = metrics["loops"][-1]["classes"]
    assert written["classes"].keys() == classes.keys()
    for name, curves in written["classes"].items():
        fpr, tpr = np.array(curves["roc"]).T
        assert_close(float(np.dot(np.diff(fpr), tpr[1:] + tpr[:-1]) / 2), classes[name]["pixel_auroc"], atol=1e-3)
        assert curves["pro"][-1][0] == 0.3


def test_same_seed_same_metrics_and_another_seed_others(small_experiment: Path, tmp_path: Path) -> None:
    first = run_file(small_experiment, tmp_path / "a")[0]
    assert run_file(small_experiment, tmp_path / "b")[0] == first
    assert (tmp_path / "a" / "metrics.json").read_bytes() == (tmp_path / "b" / "metrics.json").read_bytes()
    assert run_file(small_experiment, tmp_path / "c", "seed=4")[0] != first


@pytest.mark.slow
def test_two_threads_give_the_same_bytes_twice(small_experiment: Path, tmp_path: Path) -> None:
    # The whole job's tensors are split among threads from a size on that the tiny model's do not reach.
    larger = ["backbone.image_size=96", "scheduler.text_batch=8", "scheduler.image_batch=8", "evaluation.heatmaps=0"]
    torch.set_num_threads(2)
    try:
        for name in ("a", "b"):
            run_file(small_experiment, tmp_path / name, *larger, *ONE_LOOP)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    for file in ("metrics.json", "events.jsonl", "curves.json", "calibration.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    one, other = (read(tmp_path / name / "checkpoints" / "loop_1.safetensors") for name in ("a", "b"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_phase_of_each_loop_draws_a_random_stream_of_its_own(
    small_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = list[float]()
    monkeypatch.setattr("aaclip_kit.run.loop.train_phase", lambda *_: first.append(float(torch.rand(()))))
    run = Execution(build(small_experiment), RunFolder.create(tmp_path / "run"), Watcher())
    for loop in (1, 2):
        for number, tower in enumerate(TOWERS):
            run._train(loop, number, plan_for(tower))
    assert len(first) == len(set(first)) == 4


def test_each_phase_of_each_loop_shuffles_and_augments_anew(small_experiment: Path) -> None:
    run = build(small_experiment)

    def drawn(loop: int, number: int) -> tuple[tuple[Path, ...], torch.Tensor]:
        phase = build_phase(run, plan_for("text", batch_size=8), loop, number, frozenset())
        (batch,) = phase.batches.epoch(1)
        order = [sample.image for sample in batch.samples]
        return tuple(order), batch.images[order.index(min(order))]

    found = [drawn(loop, number) for loop in (1, 2) for number in (0, 1)]
    assert len({order for order, _ in found}) == 4
    for (_, one), (_, other) in combinations(found, 2):
        assert not torch.equal(one, other), "the same image, in two phases"
    again = drawn(1, 0)
    assert again[0] == found[0][0] and torch.equal(again[1], found[0][1])


def test_resolved_copy_runs_again_to_the_same_result(small_experiment: Path, tmp_path: Path) -> None:
    first = run_file(small_experiment, tmp_path / "a")[0]
    again = run_file(tmp_path / "a" / "experiment.toml", tmp_path / "b")[0]
    assert again == first
    assert (tmp_path / "a" / "experiment.toml").read_text() == (tmp_path / "b" / "experiment.toml").read_text()


def test_every_trained_weight_carries_over_and_moves(small_experiment: Path, tmp_path: Path) -> None:
    run_file(small_experiment, tmp_path / "run")
    one = read(tmp_path / "run" / "checkpoints" / "loop_1.safetensors")
    two = read(tmp_path / "run" / "checkpoints" / "loop_2.safetensors")
    assert one.keys() == two.keys()
    for name, value in one.items():
        change = (two[name] - value).abs().max()
        assert change > 0 or name.endswith("k_proj.bias"), f"{name} did not train in loop 2"
        assert change < 0.05, f"{name} started afresh"


def test_start_from_a_checkpoint_and_stages_it_lacks_start_fresh(small_experiment: Path, tmp_path: Path) -> None:
    run_file(small_experiment, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "loop_2.safetensors"
    loaded = assemble(load(small_experiment, discover(), [f"init.checkpoint={checkpoint}"]))
    assert loaded.fresh_stages == ()
    state = trained_state(loaded.model)
    assert all(torch.equal(state[name], value) for name, value in read(checkpoint).items())
    more = ["stages.second.use=residual_adapter", "stages.second.tower=text", "stages.second.after=[3]"]
    assert assemble(load(small_experiment, discover(), [f"init.checkpoint={checkpoint}", *more])).fresh_stages == (
        "second",
    )


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_runs_and_keeps_float32_weights(small_experiment: Path, tmp_path: Path, precision: str) -> None:
    metrics, _ = run_file(small_experiment, tmp_path / "run", f"precision={precision}")
    assert metrics["loops"][1]["mean"]["pixel_auroc"] is not None
    state = read(tmp_path / "run" / "checkpoints" / "loop_2.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float32}
