"""A stage in training: gradients, chance that torch's seed decides, all that is learnt in parameters, a whole run."""

from typing import cast

import torch
from torch import Tensor

from ...contracts.options import StageOptions
from ...contracts.stage import AttentionStage, StageSetting
from ..subject import Breach, Subject
from ..tiny import MODEL
from ..trial import differences, run_tiny
from . import Given, build_stage, call, direction, inputs, must_agree, result, settings, stir, stirred_with_inputs

STEPS, FEW_STEPS = 4, 2
LEARNING_RATE = 1e-2
NEAR = 1e-5


def gradient_reaches_the_tokens(subject: Subject) -> None:
    """From a stage as it is built."""
    for setting in settings(subject):
        stage = build_stage(subject, setting).train()
        given = inputs(stage, setting)
        tokens = given.tokens.requires_grad_()
        objective = _objective(stage, given)
        if not objective.requires_grad:
            raise Breach("the result hangs on no gradient at all")
        (gradient,) = torch.autograd.grad(objective, tokens, allow_unused=True)
        if gradient is None:
            raise Breach("no gradient reaches the tokens")
        if not gradient.isfinite().all():
            raise Breach("the gradient at the tokens is not finite")
        if without := [item for item, part in enumerate(gradient) if not part.any()]:
            raise Breach(f"no gradient reaches the tokens of items {', '.join(map(str, without))} of {len(gradient)}")


def every_parameter_learns(subject: Subject) -> None:
    """Over a few steps, for an output that begins at zero keeps the gradient from what stands before it."""
    for setting in settings(subject):
        stage = build_stage(subject, setting).train().requires_grad_(True)
        named = dict(stage.named_parameters())
        if not named:
            continue
        optimizer, waiting = torch.optim.Adam(named.values(), lr=LEARNING_RATE), set(named)
        for step in range(STEPS):
            optimizer.zero_grad()
            _objective(stage, inputs(stage, setting, seed=10 + step)).backward()
            for name, parameter in named.items():
                if parameter.grad is None or not parameter.grad.any():
                    continue
                if not parameter.grad.isfinite().all():
                    raise Breach(f"the gradient of {name} is not finite in step {step + 1}")
                waiting.discard(name)
            optimizer.step()
        if waiting:
            raise Breach(f"in {STEPS} steps no gradient reached {', '.join(sorted(waiting))}")


def _objective(stage: AttentionStage, given: Given) -> Tensor:
    changed = call(stage, given)
    return (changed * direction(changed)).sum()


def loss_terms_are_scalars(subject: Subject) -> None:
    """Of a stage in training, after a forward pass and after a second one."""
    for setting in settings(subject):
        stage = build_stage(subject, setting).train().requires_grad_(True)
        for seed in (10, 11):
            call(stage, inputs(stage, setting, seed=seed))
            terms = stage.loss_terms()
            if not isinstance(terms, dict):
                raise Breach(f"loss_terms gave {type(terms).__name__}, not a dict of terms")
            for name, value in terms.items():
                _check_term(name, value)
            if terms:
                torch.stack([*terms.values()]).sum().backward()


def _check_term(name: object, value: object) -> None:
    if not isinstance(name, str):
        raise Breach(f"a term is named {name!r}, which is no text")
    if not isinstance(value, Tensor) or value.dim() or not value.is_floating_point() or not value.isfinite():
        raise Breach(f"term '{name}' is {value!r}, no finite number in a tensor without dimensions")
    if not value.requires_grad:
        raise Breach(f"term '{name}' hangs on no gradient")


def seed_decides(subject: Subject) -> None:
    """Build twice and train twice under one seed."""
    for setting in settings(subject):
        one, two = (build_stage(subject, setting, seed=5) for _ in range(2))
        for (name, here), there in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
            if not torch.equal(here, there):
                raise Breach(f"two builds under one torch seed differ in {name}")
    for stage, given in stirred_with_inputs(subject):
        one_result, other = (_seeded(stage.train(), given, seed=6) for _ in range(2))
        must_agree(one_result, other, "in training, two results under one torch seed differ", tolerance=NEAR)


def dropout_in_training_only(subject: Subject) -> None:
    """Evaluate under two seeds."""
    for stage, given in stirred_with_inputs(subject):
        one, other = (_seeded(stage, given, seed) for seed in (7, 8))
        must_agree(one, other, "in evaluation, results under two torch seeds differ", tolerance=NEAR)


def parameters_are_all_that_is_learnt(subject: Subject) -> None:
    """Train a little, copy the parameters into a stage built under another seed, and compare."""
    for setting in settings(subject):
        trained, other = _trained(subject, setting), build_stage(subject, setting, seed=9).eval()
        learnt = dict(trained.named_parameters())
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                parameter.copy_(learnt[name])
        given = inputs(trained, setting)
        said = "a stage built under another seed, with the same parameters, differs"
        must_agree(result(trained, given), result(other, given), said, tolerance=NEAR)


def _trained(subject: Subject, setting: StageSetting) -> AttentionStage:
    stage = build_stage(subject, setting).train().requires_grad_(True)
    stir(stage)
    parameters = list(stage.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE) if parameters else None
    for step in range(FEW_STEPS):
        given = inputs(stage, setting, seed=30 + step)
        changed = call(stage, given)
        if optimizer is not None:
            optimizer.zero_grad()
            (changed * direction(changed)).mean().backward()
            optimizer.step()
    return stage.eval()


def _seeded(stage: AttentionStage, given: Given, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return result(stage, given)


def trains_in_a_run(subject: Subject) -> None:
    """Two steps in each phase, and the checkpoint loaded into a run of another seed."""
    options = cast(StageOptions, subject.options())
    depth = MODEL["text_cfg" if options.tower == "text" else "vision_cfg"]["layers"]
    after = [block for block in options.after if block < depth] or [0]
    with run_tiny(subject, stages={"checked": {**subject.chosen, "after": after}}) as trial:
        own = [change for name, change in trial.changes.items() if name.startswith("sites.stages.checked.")]
        if own and not any(own):
            raise Breach("two steps of training changed none of its parameters")
        if (difference := differences(trial)) > NEAR:
            raise Breach(f"the checkpoint, loaded into a new run, gives features that differ by {difference:.2g}")
