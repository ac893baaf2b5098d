"""Stages with a context act where their tower trained with them, and nowhere before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import TowerName
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.training.loop_plans import attending_after
from aaclip_kit.training.phase import Phase, train_phase
from aaclip_kit.training.step import StepCallback

from ..build import plan_for, run_file

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_phase_sets_its_own_tower_and_leaves_the_other_as_it_was() -> None:
    attending: frozenset[TowerName] = frozenset()
    phases: list[tuple[TowerName, bool]] = [
        ("text", False), ("vision", False), ("text", True), ("vision", True), ("text", False),
    ]  # fmt: skip
    seen = []
    for tower, attention in phases:
        attending = attending_after(plan_for(tower, attention=attention), attending)
        seen.append(set(attending))
    assert seen == [set(), set(), {"text"}, {"text", "vision"}, {"vision"}]


def test_attention_from_loop_two_on_acts_in_no_features_and_scores_before(
    small_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, set[str]]] = []
    score = Evaluator.evaluate

    def watched_phase(phase: Phase, callback: StepCallback) -> None:
        seen.append((f"loop {phase.loop} {phase.plan.train}", set(phase.attending)))
        train_phase(phase, callback)

    def watched_evaluation(evaluator: Evaluator, data: Any, attending: Any, **named: Any) -> dict[str, Any]:
        seen.append(("scores" if named["trained"] else "scores before", set(attending)))
        return score(evaluator, data, attending, **named)

    monkeypatch.setattr("aaclip_kit.run.loop.train_phase", watched_phase)
    monkeypatch.setattr(Evaluator, "evaluate", watched_evaluation)
    options = ["use=v2", "loops=2", "attention_from_loop=2", "text_epochs=1", "image_epochs=1", "image_batch=4"]
    run_file(small_experiment, tmp_path / "run", *(f"scheduler.{option}" for option in options))
    assert seen == [
        ("scores before", set()),
        ("loop 1 text", set()),
        ("loop 1 vision", set()),
        ("scores", set()),
        ("loop 2 text", {"text"}),
        ("loop 2 vision", {"text", "vision"}),
        ("scores", {"text", "vision"}),
    ]
