"""Loss terms that a stage offers itself: in the objective of the phase that trains it, and in the events."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from aaclip_kit import AttentionStage, Context, PhasePlan, StageSetting, TowerName
from aaclip_kit.contracts.options import TOWERS
from aaclip_kit.run.assemble import Run
from aaclip_kit.training.losses import WeightedLosses

from ..build import Probe, plan_for, train, with_parts
from ..helpers import assert_close, gradient_of

TERM = "stages.mine.0/size"


class Termed(AttentionStage):
    """Offers the mean square of what it adds, made by its last forward; where that was not to train, none moves it."""

    def __init__(self, setting: StageSetting) -> None:
        super().__init__()
        self.added = nn.Parameter(torch.linspace(-1, 1, setting.width))
        self.size: Tensor | None = None

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        self.size = self.added.square().mean()
        return tokens + 0.1 * self.added

    def loss_terms(self) -> dict[str, Tensor]:
        return {} if self.size is None else {"size": self.size}


class Attends(Termed):
    context_kind = "text"


def run_with(path: Path, tower: TowerName, stage: type[Termed] = Termed) -> Run:
    table = ["stages.mine.use=residual_adapter", f"stages.mine.tower={tower}", "stages.mine.after=[0]"]
    factory = {"mine": lambda _, setting: stage(setting)}
    return with_parts(path, "switches.dropout=false", *table, stages=factory)


def added(run: Run) -> nn.Parameter:
    (stage,) = [stage for tower in TOWERS for _, name, stage in run.model.slots.of(tower) if name == "mine"]
    assert isinstance(stage, Termed)
    return stage.added


def one_step(run: Run, plan: PhasePlan) -> tuple[dict[str, float], float, Tensor]:
    """Terms and objective of the first step, and the gradient of what the stage adds."""
    step = train(run, plan, WeightedLosses({"probe": (Probe(), 1.0)}))[0]
    return step.terms, step.loss, gradient_of(added(run)).clone()


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize("both", [False, True])
def test_they_are_in_the_objective_and_have_gradients(small_experiment: Path, both: bool, tower: TowerName) -> None:
    """Where both are trained, making the text context walks the text stages too; the pass that trains has the terms."""
    plan = plan_for("both" if both else tower, batch_size=8)
    terms, loss, gradient = one_step(run_with(small_experiment, tower), plan)
    assert terms.keys() == {"probe/pull", TERM}
    assert_close(loss, sum(terms.values()))
    start = torch.linspace(-1, 1, len(gradient))
    assert_close(terms[TERM], float(start.square().mean()))
    silent = run_with(small_experiment, tower)
    added_by = added(silent)
    silent.model.slots.loss_terms = lambda *_: {}  # type: ignore[method-assign]
    _, _, without = one_step(silent, plan)
    assert_close(gradient - without, 2 * start / len(start), atol=1e-5)
    assert added_by.grad is not None


@pytest.mark.parametrize("features", ["frozen", "trained"])
def test_terms_of_the_tower_that_does_not_train_are_left_out(small_experiment: Path, features: str) -> None:
    run = run_with(small_experiment, "vision")
    (step,) = train(run, plan_for("text", batch_size=8, features=features))
    assert TERM not in step.terms


def test_a_stage_that_is_switched_off_is_not_asked(small_experiment: Path) -> None:
    """What it would offer is of another phase's pass, whose graph is gone."""
    run = run_with(small_experiment, "vision", Attends)
    on, off = (train(run, plan_for("vision", batch_size=8, attention=attention))[0] for attention in (True, False))
    assert TERM in on.terms and TERM not in off.terms
