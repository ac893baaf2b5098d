"""Prompts in training: gradients, the seed, all that is learnt in parameters, the backbone as it was, a whole run."""

from typing import Final

import torch

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
from ..subject import Breach, Subject
from ..trial import differences, run_tiny
from . import Built, build_prompts, stirred

FEW_STEPS: Final = 2


def every_parameter_learns(subject: Subject) -> None:
    """Over a few steps, each with images of its own."""
    built = build_prompts(subject)
    _trained(built, STEPS).must_have_reached_all()


def _trained(built: Built, steps: int) -> Learning:
    learning = Learning(built.prompts.train())
    for step in range(steps):
        found = built.features(embedding=built.embedding(seed=10 + step))
        learning.step((found * draw(*found.shape, seed=20 + step)).sum())
    built.prompts.eval()
    return learning


def seed_decides(subject: Subject) -> None:
    """Build twice under one seed."""
    one, two = (build_prompts(subject, seed=5) for _ in range(2))
    same_weights(one.prompts, two.prompts)


def parameters_are_all_that_is_learnt(subject: Subject) -> None:
    """Train a little, copy the parameters into prompts built under another seed, and compare."""
    trained, other = stirred(subject), build_prompts(subject, seed=9)
    _trained(trained, FEW_STEPS)
    copy_parameters(trained.prompts, other.prompts)
    with torch.no_grad():
        said = "prompts built under another seed, with the same parameters, differ"
        must_agree(trained.features(), other.features(), said)


def backbone_stays_as_it_is(subject: Subject) -> None:
    """Build, walk and train."""
    built = build_prompts(subject)
    before = {name: value.clone() for name, value in tiny_backbone(subject).state_dict().items()}
    _trained(built, FEW_STEPS)
    backbone_is_apart(built.backbone, before, built.prompts)


def trains_in_a_run(subject: Subject) -> None:
    """Two steps in each phase beside an adapter of each tower, and the checkpoint loaded into a run of another seed."""
    adapter = {"use": "residual_adapter", "tower": "text", "after": [0]}
    with run_tiny(subject, prompts=subject.chosen, stages={"adapter": adapter}) as trial:
        own = [change for name, change in trial.changes.items() if name.startswith("prompts.")]
        if own and not any(own):
            raise Breach("two steps of training changed none of its parameters")
        if (difference := differences(trial)) > NEAR_LOADED:
            raise Breach(f"the checkpoint, loaded into a new run, gives features that differ by {difference:.2g}")
