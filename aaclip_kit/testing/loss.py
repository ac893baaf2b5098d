"""The checks of a loss: what it asks for, its terms and their gradients, at the edges and in a run."""

from operator import itemgetter
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..contracts.loss import Loss, LossInput
from ..contracts.options import TOWERS, TowerName
from ..training.losses import trained_by
from .subject import Breach, Subject
from .trial import run_tiny

IMAGES, WIDTH, SIDE = 4, 24, 16
LEVELS = (1, 3)
NEAR, HALF_NEAR = 1e-5, 0.05
Labels = Literal["mixed", "normal", "anomalous"]
Named = dict[str, Any]
MAPS = "level_probabilities"


def build_loss(subject: Subject) -> Loss:
    """Build the loss, and see that its `needs` name what there is."""
    torch.manual_seed(0)
    loss: Loss = subject.make(Loss)
    needs = getattr(loss, "needs", None)
    if not isinstance(needs, tuple) or not needs:
        raise Breach(f"its `needs` is {needs!r}, not a tuple of names")
    if strange := [name for name in needs if name not in get_args(LossInput)]:
        raise Breach(f"its `needs` names {', '.join(map(repr, strange))}, which no phase makes")
    return loss


def phases(loss: Loss) -> list[TowerName]:
    """Phases that train some of what the loss needs."""
    return [tower for tower in TOWERS if set(loss.needs) & trained_by(tower)]


def batch(
    labels: Labels = "mixed", *, images: int = IMAGES, levels: tuple[int, ...] = LEVELS, edges: bool = False
) -> Named:
    """Make all that a phase makes of a batch; `edges` puts probabilities at exactly 0 and 1, right and wrong ones."""
    generator = torch.Generator().manual_seed(1)
    label = {"mixed": torch.arange(images) % 2, "normal": torch.zeros(images), "anomalous": torch.ones(images)}[labels]
    masks = torch.zeros(images, 1, SIDE, SIDE)
    masks[:, :, 3:9, 4:12] = label.float().reshape(-1, 1, 1, 1)
    logits = [3 * torch.randn(images, 2, SIDE, SIDE, generator=generator) for _ in levels]
    maps = {level: logit.softmax(dim=1) for level, logit in zip(levels, logits, strict=True)}
    if edges:
        maps = {level: (map_ == map_.amax(dim=1, keepdim=True)).float() for level, map_ in maps.items()}
    features = torch.randn(images, WIDTH, 2, generator=generator)
    return {
        "level_probabilities": maps,
        "text_features": features / torch.linalg.vector_norm(features, dim=1, keepdim=True),
        "detection_logits": (50 if edges else 1) * torch.randn(images, 2, generator=generator),
        "masks": masks,
        "labels": label.long(),
    }


def terms(loss: Loss, named: Named) -> dict[str, Tensor]:
    """What the loss says of what it needs of a batch."""
    return loss(**{name: named[name] for name in loss.needs})


def differentiable(named: Named, loss: Loss) -> dict[str, Tensor]:
    """Set predictions that a phase trains to take gradients; returns them by name."""
    trained = {name for tower in phases(loss) for name in trained_by(tower)} & set(loss.needs)
    parts = flat({name: named[name] for name in sorted(trained)})
    return {said: part.requires_grad_() for said, part in parts.items()}


def flat(named: Named) -> dict[str, Tensor]:
    """Name each tensor, those of single levels like "level_probabilities[3]"."""
    levels = {f"{MAPS}[{level}]": value for level, value in named.get(MAPS, {}).items()}
    return {**levels, **{name: value for name, value in named.items() if name != MAPS}}


def propagate(terms_of: dict[str, Tensor]) -> None:
    """Send the gradient of the sum of all terms back, if there is one."""
    objective = torch.stack([value.float() for value in terms_of.values()]).sum()
    if objective.requires_grad:
        objective.backward()


def needs_what_is_made(subject: Subject) -> None:
    """Some phase can use it, and nothing in it would have to be trained."""
    loss = build_loss(subject)
    if own := [name for name, _ in loss.named_parameters()]:
        raise Breach(f"it has parameters, which no phase trains: {', '.join(own)}")
    if not phases(loss):
        raise Breach(f"no phase both makes and trains what it needs: {', '.join(loss.needs)}")


def gives_scalar_terms(subject: Subject) -> None:
    """Named tensors without dimensions."""
    named_terms = terms(build_loss(subject), batch())
    if not isinstance(named_terms, dict) or not named_terms:
        said = named_terms if isinstance(named_terms, dict) else type(named_terms).__name__
        raise Breach(f"forward returned {said}, not a dict of terms")
    for name, value in named_terms.items():
        if not isinstance(name, str):
            raise Breach(f"a term is named {name!r}, which is no text")
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise Breach(f"term '{name}' is {type(value).__name__}, not a floating-point tensor")
        if value.dim():
            raise Breach(f"term '{name}' has shape {list(value.shape)}")


def mean_where_it_says_so(subject: Subject) -> None:
    """A batch of five images against parts of two and three of them, as two processes would share it."""
    loss = build_loss(subject)
    if loss.over_batch == "joint":
        return
    if loss.over_batch != "mean":
        raise Breach(f"its `over_batch` is {loss.over_batch!r}, neither 'mean' nor 'joint'")
    named = _unequal(batch(images=5))
    whole = terms(loss, named)
    parts = (slice(0, 2), slice(2, 5))
    two, three = (terms(loss, tree_map(itemgetter(rows), named)) for rows in parts)
    for name, value in whole.items():
        mean = 0.4 * float(two[name]) + 0.6 * float(three[name])
        if abs(mean - float(value)) > NEAR * (1 + abs(mean)):
            raise Breach(f"term '{name}' of five images is {float(value):.6g}, and the mean of its parts {mean:.6g}")


def _unequal(named: Named) -> Named:
    """The same batch, its first two images predicted otherwise: parts that are alike would hide what is no mean."""
    for value in named["level_probabilities"].values():
        value[:2, 1] *= 0.1
        value[:2, 0] = 1 - value[:2, 1]
    named["detection_logits"][:2] *= 4
    named["text_features"][:2, :, 1] = named["text_features"][:2, :, 0]
    return named


def changes_nothing_in_place(subject: Subject) -> None:
    """Compare every input with a copy."""
    loss, named = build_loss(subject), batch()
    terms(loss, named)
    before = flat(batch())
    for name, value in flat(named).items():
        if not torch.equal(value, before[name]):
            raise Breach(f"{name} was changed")


def same_inputs_same_terms(subject: Subject) -> None:
    """Three calls, under three seeds."""
    loss, calls = build_loss(subject), []
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        calls.append({name: float(value) for name, value in terms(loss, batch()).items()})
    for later in calls[1:]:
        if later.keys() != calls[0].keys():
            raise Breach(f"the terms were {', '.join(calls[0])}, and then {', '.join(later)}")
        for name, value in later.items():
            if abs(value - calls[0][name]) > NEAR * (1 + abs(value)):
                raise Breach(f"term '{name}' was {calls[0][name]:.6g}, and then {value:.6g}")


def finite_at_the_edges(subject: Subject) -> None:
    """Every kind of batch, with usual probabilities and with 0 and 1."""
    loss = build_loss(subject)
    for labels in get_args(Labels):
        for edges in (False, True):
            sort = "normal and anomalous images" if labels == "mixed" else f"{labels} images only"
            said = f"for {sort}" + (", at probabilities of exactly 0 and 1" if edges else "")
            _finite(loss, batch(labels, edges=edges), said)


def takes_any_batch(subject: Subject) -> None:
    """One image, one level, three levels."""
    loss = build_loss(subject)
    for said, named in (
        ("for one normal image", batch("normal", images=1)),
        ("for one anomalous image", batch("anomalous", images=1)),
        ("for one level", batch(levels=(4,))),
        ("for three levels", batch(levels=(1, 2, 5))),
    ):
        _finite(loss, named, said)


def _finite(loss: Loss, named: Named, said: str) -> None:
    predictions = differentiable(named, loss)
    try:
        named_terms = terms(loss, named)
    except Exception as error:
        raise Breach(f"{said}, forward raised {type(error).__name__}: {error}") from error
    if bad := [name for name, value in named_terms.items() if not value.isfinite().all()]:
        raise Breach(f"{said}, these terms are not finite: {', '.join(bad)}")
    propagate(named_terms)
    for name, value in predictions.items():
        if value.grad is not None and not value.grad.isfinite().all():
            raise Breach(f"{said}, the gradient at {name} is not finite")


def gradient_reaches_what_is_trained(subject: Subject) -> None:
    """Of a batch with both labels."""
    loss = build_loss(subject)
    named = batch()
    predictions = differentiable(named, loss)
    propagate(terms(loss, named))
    if not any(value.grad is not None and value.grad.any() for value in predictions.values()):
        raise Breach(f"no gradient reaches any of {', '.join(predictions)}")


def takes_bf16(subject: Subject) -> None:
    """Under autocast, with predictions in bfloat16 and targets as they are."""
    loss = build_loss(subject)
    exact = terms(loss, batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictions = tree_map(Tensor.bfloat16, batch())
        rough = terms(loss, {**predictions, **{name: batch()[name] for name in ("masks", "labels")}})
    for name, value in rough.items():
        if not value.isfinite():
            raise Breach(f"term '{name}' is not finite")
        error = abs(float(value) - float(exact[name]))
        if error > HALF_NEAR * max(abs(float(exact[name])), HALF_NEAR):
            raise Breach(f"term '{name}' is {float(value):.4g}, in float32 {float(exact[name]):.4g}")


def trains_in_a_run(subject: Subject) -> None:
    """Alone in each phase that it can teach; the built-in segmentation loss teaches the other."""
    own = phases(build_loss(subject))
    losses = {tower: {"checked": subject.chosen if tower in own else {"use": "segmentation"}} for tower in TOWERS}
    with run_tiny(subject, losses=losses) as trial:
        for tower in own:
            prefix = "prompts." if tower == "text" else "head."
            if not any(change for name, change in trial.changes.items() if name.startswith(prefix)):
                raise Breach(f"two steps of the {tower} phase changed none of its weights")
