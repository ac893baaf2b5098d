"""A head in training: gradients, the seed, all that is learnt in parameters, the backbone as it was, a whole run."""

from typing import Final

import torch
from torch import Tensor

from ...contracts.schedule import LoopPlan, LoopRecord, LoopScheduler
from ...model.image_tower import parts_of, tokens_of
from ..parts import (
    NEAR_LOADED,
    STEPS,
    Learning,
    backbone_is_apart,
    copy_parameters,
    draw,
    must_agree,
    same_weights,
    tiny_backbone,
)  # fmt: skip
from ..subject import Breach, NotApplicable, Subject
from ..trial import differences, run_tiny
from . import LEVELS, PREDICTIONS, Built, build_head, stirred

FEW_STEPS: Final = 2


def gradient_reaches_tokens_and_text(subject: Subject) -> None:
    """From a head as it is built: stages and prompts learn by it from the first step on."""
    built = _making(subject)
    leaves = {name: part.clone().requires_grad_() for name, part in parts_of(built.tokens()).items()}
    text = built.text()
    given = {**leaves, **({} if text is None else {"text features": text.clone().requires_grad_()})}
    features = built.head.features(tokens_of(leaves, LEVELS))
    objective = _objective(built.predictions(features, given.get("text features")))
    if not objective.requires_grad:
        raise Breach("what it makes hangs on no gradient at all")
    objective.backward()
    reached = {name for name, value in given.items() if value.grad is not None and value.grad.any()}
    if not reached & leaves.keys():
        raise Breach("no gradient reaches any of the tokens that it reads")
    if text is not None and "text features" not in reached:
        raise Breach("no gradient reaches the text features")
    if bad := [name for name in reached if not _finite(given[name].grad)]:
        raise Breach(f"the gradient at {', '.join(bad)} is not finite")


def _finite(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.isfinite().all())


def _making(subject: Subject) -> Built:
    built = build_head(subject)
    if not built.head.makes:
        raise NotApplicable("the head makes nothing that a loss asks for")
    return built


def _objective(made: dict[str, Tensor]) -> Tensor:
    """A number of all predictions; softmax channels are weighted apart, for their sum is 1 whatever is learnt."""
    return torch.stack([(value.float() * draw(*value.shape, seed=40)).sum() for value in made.values()]).sum()


def every_parameter_learns(subject: Subject) -> None:
    """Over a few steps, each on images of its own."""
    built = build_head(subject)
    if not built.head.makes:
        if own := [name for name, _ in built.head.named_parameters()]:
            raise Breach(f"it makes nothing that a loss asks for, and has parameters: {', '.join(own)}")
        return
    _trained(built, STEPS).must_have_reached_all()


def _trained(built: Built, steps: int) -> Learning:
    learning = Learning(built.head.train())
    for step in range(steps if built.head.makes else 0):
        features = built.head.features(built.tokens(seed=10 + step))
        learning.step(_objective(built.predictions(features, built.text(seed=20 + step))))
    built.head.eval()
    return learning


def seed_decides(subject: Subject) -> None:
    """Build twice under one seed."""
    one, two = (build_head(subject, seed=5) for _ in range(2))
    same_weights(one.head, two.head)


def parameters_are_all_that_is_learnt(subject: Subject) -> None:
    """Train a little, copy the parameters into a head built under another seed, and compare."""
    trained, other = stirred(subject), build_head(subject, seed=9)
    _trained(trained, FEW_STEPS)
    copy_parameters(trained.head, other.head)
    with torch.no_grad():
        expected = other.everything(other.tokens(), other.text())
        for name, value in trained.everything(trained.tokens(), trained.text()).items():
            said = f"the {name} of a head built under another seed, with the same parameters, differ"
            must_agree(value, expected[name], said)


def backbone_stays_as_it_is(subject: Subject) -> None:
    """Build, predict and train."""
    built = build_head(subject)
    before = {name: value.clone() for name, value in tiny_backbone(subject).state_dict().items()}
    _trained(built, FEW_STEPS)
    backbone_is_apart(built.backbone, before, built.head)


def trains_in_a_run(subject: Subject) -> None:
    """Two steps in each phase that can train, and the checkpoint loaded into a run of another seed."""
    head = _making(subject).head
    uses = {"level_probabilities": "segmentation", "detection_logits": "image_cross_entropy"}
    losses = {name: {"use": uses[name]} for name in PREDICTIONS if name in head.makes}
    phases = dict.fromkeys(("text", "vision") if head.needs_text else ("vision",), losses)
    stages = {"adapter": {"use": "residual_adapter", "tower": "vision", "after": [0]}}
    lead = None if head.needs_text else _VisionAlone
    with run_tiny(subject, lead, head=subject.chosen, losses=phases, stages=stages) as trial:
        own = [change for name, change in trial.changes.items() if name.startswith("head.")]
        if own and not any(own):
            raise Breach("two steps of training changed none of its parameters")
        if (difference := differences(trial)) > NEAR_LOADED:
            raise Breach(f"the checkpoint, loaded into a new run, gives maps that differ by {difference:.2g}")


class _VisionAlone:
    """Another scheduler's plans, without their text phases."""

    def __init__(self, scheduler: LoopScheduler) -> None:
        self.scheduler = scheduler

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The vision phases of the next loop."""
        plan = self.scheduler.next_loop(history)
        return None if plan is None else LoopPlan(tuple(phase for phase in plan.phases if phase.train == "vision"))
