"""What a step needs of memory, what is decided by it, and that neither changes a number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from aaclip_kit import LoopPlan, LoopRecord, PhasePlan, UserError
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.fit_memory import LiveBytes, fit_memory
from aaclip_kit.run.loop import execute
from aaclip_kit.run.memory_plan import MemoryPlan, StepNeed
from aaclip_kit.training.losses import total

from ..build import Watcher, build, phase_for, plan_for, values_of
from ..command import Command
from ..conftest import EXPERIMENT
from ..helpers import assert_close

pytestmark = pytest.mark.usefixtures("undrawn")

CHILD = Path(__file__).with_name("peak.py")
MIDDLE = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 224, "layers": 8, "width": 256, "head_width": 64, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 4},
}


@dataclass
class OnePhase:
    """A scheduler of one loop of one phase."""

    plan: PhasePlan

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        return None if history else LoopPlan((self.plan,))


def assembled(file: Path, *overrides: str) -> Run:
    return assemble(load(file, discover(), ["device=cpu", *overrides]))


LOOKS = EXPERIMENT.replace('recompute = "off"', 'recompute = "auto"')


@pytest.fixture
def small_experiment(tmp_path: Path, tiny_clip: Path, defects: Path) -> Path:
    """The small experiment, which looks at memory before it begins."""
    path = tmp_path / "small.toml"
    path.write_text(LOOKS.format(model=tiny_clip, data=defects))
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path) -> Run:
    """The small experiment, for looking at only."""
    file = tmp_path_factory.mktemp("memory") / "small.toml"
    file.write_text(LOOKS.format(model=tiny_clip, data=defects))
    return assembled(file)


def given(run: Run, plan: PhasePlan, **compute: Any) -> Run:
    """The run with one phase alone, and these keys of its table [compute]."""
    file = run.experiment.file
    table = file.model_copy(update={"compute": file.compute.model_copy(update=compute)})
    run.model.image.recompute = compute.get("recompute") == "on"
    return replace(run, scheduler=OnePhase(plan), experiment=replace(run.experiment, file=table))


def memory_of(run: Run) -> MemoryPlan:
    """The plan that a dry run would show."""
    memory = fit_memory(run, show=True).memory
    assert memory is not None
    return memory


def need_of(run: Run, plan: PhasePlan) -> StepNeed:
    (need,) = memory_of(given(run, plan)).needs
    return need


def kept_by(run: Run, plan: PhasePlan) -> int:
    """What a step needs without recompute, by itself."""
    memory = fit_memory(given(run, plan, memory_gb=1e3)).memory
    assert memory is not None
    (need,) = memory.needs
    assert need.recomputed is None
    return need.kept


def between(need: StepNeed) -> float:
    """GB in which a step fits with recompute only."""
    assert need.recomputed is not None
    return (need.kept + need.recomputed) / 2e9


def test_live_bytes_are_those_that_somebody_holds() -> None:
    before = torch.ones(1000)
    with LiveBytes([before]) as live:
        view = before[10:]
        assert live.now == 0, "a view of what was there takes nothing"
        first = torch.ones(500)
        assert live.now == 2000
        second = first.exp()
        parts = first.chunk(2)
        assert live.now == 4000
        del first
        assert live.now == 4000, "its parts hold it"
        del parts
        assert (live.now, live.peak) == (2000, 4000)
        needs = torch.ones(250, requires_grad=True)
        squared = (needs * second[:250]).exp().sum()
        assert live.now == 2000 + 1000 + 1000 + 4, "the graph keeps the exponential"
        squared.backward()
        needs.grad = None
        assert live.now == 2000 + 1000 + 4
    assert view.numel() == 990


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the most that a process had is read from Linux")
def test_the_estimate_is_what_a_phase_really_takes(small_experiment: Path, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": MIDDLE}))
    overrides = [
        f"backbone.model={tmp_path}", "device=cpu", "calibration.held_out=0", "data.allow_overlap=true",
        "scheduler.image_batch=12", "scheduler.text_batch=16", 'data.train.classes=["red_cloth","green_wood"]',
    ]  # fmt: skip
    # The C library gives back at once whatever is freed, so that the process has no more than its tensors.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, str(CHILD), str(small_experiment), *overrides]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert set(found) == {"text", "vision", "vision, recomputed"}
    assert found["vision"][1] > 0.4e9
    for kind, (estimate, taken) in found.items():
        assert estimate == pytest.approx(taken, rel=0.05), kind


def gradients(run: Run, recompute: bool) -> tuple[Tensor, list[Tensor], int]:
    """Loss and gradients of one vision step, and the bytes that the graph kept."""
    run.model.image.recompute = recompute
    phase, kept = phase_for(run, plan_for("vision")), dict[int, int]()

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    with phase.open() as parameters:
        batch = next(iter(phase.batches.epoch(1)))
        seen = phase.fixed_inputs(batch)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = total(phase.terms(batch, seen))
        return loss.detach(), list(torch.autograd.grad(loss, list(parameters.values()))), sum(kept.values())


def test_recomputing_changes_no_number_and_keeps_less(small_experiment: Path) -> None:
    run = build(small_experiment, "device=cpu", "stages.image_to_text.dropout=0.3")
    loss, expected, kept = gradients(run, recompute=False)
    again, actual, fewer = gradients(run, recompute=True)
    assert_close(again, loss)
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other)
    assert fewer < 0.7 * kept


@pytest.mark.slow
def test_looking_leaves_no_trace(shared: Run) -> None:
    def state() -> dict[str, Any]:
        modules = dict(shared.model.named_modules())
        modes = {name: (module.training, set(vars(module))) for name, module in modules.items()}
        weights = {name: (type(one), one.requires_grad, one.grad) for name, one in shared.model.named_parameters()}
        return {"modes": modes, "weights": weights, "recompute": shared.model.image.recompute}

    run = given(shared, plan_for("vision"))
    values, before, random = values_of(run.model), state(), torch.get_rng_state()
    fitted = fit_memory(run, show=True)
    assert fitted.model is run.model
    assert torch.equal(torch.get_rng_state(), random)
    assert state() == before
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, values[name]), name


@pytest.mark.slow
def test_a_run_has_the_same_metrics_whatever_was_decided(shared: Run, small_experiment: Path, tmp_path: Path) -> None:
    need, listener, metrics = need_of(shared, plan_for("vision", batch_size=8)), Watcher(), list[str]()
    sizes = ("scheduler.image_batch=8", "scheduler.text_batch=1")
    tight = f"compute.memory_gb={between(need)}"
    for name, run in {
        "unasked": assembled(small_experiment, *sizes),
        "on": fit_memory(assembled(small_experiment, *sizes, tight)),
    }.items():
        folder = RunFolder.create(tmp_path / name)
        execute(run, folder, listener)
        metrics.append((folder.path / "metrics.json").read_text())
    assert len({*metrics}) == 1
    assert sum("recompute on" in text for text in listener.messages) == 1
    unasked, on = (json.loads((tmp_path / name / "manifest.json").read_text())["memory"] for name in ("unasked", "on"))
    assert unasked is None
    assert on["recompute"] is True
    steps = {step["phase"]: step for step in on["steps"]}
    assert set(steps) == {"text", "vision"}
    assert steps["vision"]["bytes"] > on["free_bytes"] > steps["vision"]["bytes_with_recompute"]


@pytest.mark.slow
def test_what_is_decided(shared: Run) -> None:
    plan = plan_for("vision")
    tight = between(need_of(shared, plan))
    for choice, room, recompute in (("auto", 1, False), ("auto", tight, True), ("off", tight, False), ("on", 1, True)):
        run = fit_memory(given(shared, plan, recompute=choice, memory_gb=room), show=True)
        assert run.memory is not None
        assert (run.memory.recompute, run.model.image.recompute) == (recompute, recompute)
        (line,) = run.memory.lines
        assert line.endswith(f"recompute {'on' if recompute else 'off'}")
    assert fit_memory(given(shared, plan, recompute="off", memory_gb=1e-6)).memory is None, "obeyed without a look"


@pytest.mark.slow
def test_too_little_memory_names_the_batch_that_fits(shared: Run) -> None:
    two, three = (need_of(shared, plan_for("vision", batch_size=size)).recomputed for size in (2, 3))
    assert two is not None
    assert three is not None
    plan = plan_for("vision", batch_size=4)
    with pytest.raises(UserError, match="vision step of 4 images") as caught:
        fit_memory(given(shared, plan, memory_gb=(two + three) / 2e9))
    assert caught.value.where == "compute"
    assert "at most 2 fits" in str(caught.value.fix)
    with pytest.raises(UserError, match=r"and 0\.001 GB are free") as caught:
        fit_memory(given(shared, plan_for("vision", batch_size=1), memory_gb=0.001))
    assert "backbone.image_size" in str(caught.value.fix)


@pytest.mark.slow
def test_a_need_grows_with_the_batch_and_is_smaller_in_half_precision(shared: Run) -> None:
    two, four, eight = (kept_by(shared, plan_for("vision", batch_size=size)) for size in (2, 4, 8))
    assert eight - four == pytest.approx(2 * (four - two), rel=0.1)
    half = replace(shared, compute_device=replace(shared.compute_device, precision="bf16"))
    assert kept_by(half, plan_for("vision", batch_size=8)) < eight


@pytest.mark.parametrize(("bound", "kept"), [(1.0, 3 * 8 * 4 * 16 * 24 * 4), (1e-6, 1000)])
def test_kept_features_count_on_a_cpu(shared: Run, bound: float, kept: int) -> None:
    """Three views of eight images, four levels, sixteen patches, 24 channels, four bytes; or the store's bound."""
    found = []
    for features in ("off", "memory"):
        tables = {
            "cache": shared.experiment.file.cache.model_copy(update={"features": features, "memory_gb": bound}),
            "augmentation": shared.experiment.file.augmentation.model_copy(update={"views": 3}),
        }
        experiment = replace(shared.experiment, file=shared.experiment.file.model_copy(update=tables))
        found.append(kept_by(replace(shared, experiment=experiment), plan_for("text")))
    assert found[1] - found[0] == kept


@pytest.mark.slow
def test_a_dry_run_shows_the_estimate(aakit: Command, small_experiment: Path) -> None:
    ran = aakit("run", small_experiment, "--dry-run", "--device", "cpu", "--set", "compute.memory_gb=2")
    assert ran.code == 0, ran.err
    shown = [line.removeprefix("memory     ") for line in ran.out.splitlines() if line.startswith("memory ")]
    fitted = fit_memory(assembled(small_experiment, "compute.memory_gb=2"), show=True)
    assert fitted.memory is not None and shown == list(fitted.memory.lines)
    assert [line.partition(":")[0] for line in shown] == ["text step of 4 images", "vision step of 4 images"]
    assert shown[1].endswith("with recompute), 2.0 free: recompute off")


@pytest.mark.parametrize(
    ("need", "line"),
    [
        (
            StepNeed("vision", 16, 18_440_000_000, 7_460_000_000),
            "vision step of 16 images: about 18.4 GB (7.5 with recompute)",
        ),
        (StepNeed("text", 4, 12_000_000, None), "text step of 4 images: about 0.012 GB"),
    ],
)
def test_an_estimate_is_shown_in_gigabytes(need: StepNeed, line: str) -> None:
    assert str(need) == line


def test_a_run_that_does_not_fit_writes_nothing(aakit: Command, small_experiment: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    keys = ("compute.memory_gb=0.001", "scheduler.text_batch=1", "scheduler.image_batch=1")
    sets = [word for key in keys for word in ("--set", key)]
    ran = aakit("run", small_experiment, "--out", out, "--device", "cpu", *sets)
    assert (ran.code, out.exists()) == (2, False)
    assert "error: compute: too little memory: text step of 1 images" in ran.err


def test_a_stage_that_reads_its_values_is_no_obstacle(small_experiment: Path) -> None:
    run = assembled(small_experiment)
    _, _, stage = next(iter(run.model.slots.of("vision")))
    stage.forward = lambda tokens, context: tokens * (tokens.sum().item() != 0)  # type: ignore[method-assign]
    fitted = fit_memory(given(run, plan_for("vision")))
    assert fitted.memory is not None
    (line,) = fitted.memory.lines
    assert line.startswith("cannot be foreseen (stages.image_to_text")
    assert line.endswith("recompute off")


def test_a_stage_may_keep_what_it_made_at_its_first_call(small_experiment: Path) -> None:
    run = assembled(small_experiment)
    _, _, stage = next(iter(run.model.slots.of("vision")))
    kind = type(stage)

    class Lazy(kind):  # type: ignore[misc, valid-type]
        made: Tensor | None = None

        def forward(self, tokens: Tensor, context: Any) -> Tensor:
            if self.made is None:
                self.made = torch.ones(tokens.shape[-1])
            changed: Tensor = super().forward(tokens, context) * self.made
            return changed

    stage.__class__ = Lazy
    fitted = fit_memory(given(run, plan_for("vision")))
    assert fitted.memory is not None
    assert fitted.memory.unknown is None
    assert stage.made is None
