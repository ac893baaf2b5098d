"""The forward pass of a stage: widths, shapes, arguments that stay as they are, and where it says that it looks."""

import torch
from pydantic import ValidationError
from torch import Tensor

from ...contracts.stage import AttentionStage, Context, ShowsAttention
from ..subject import Breach, NotApplicable, Subject
from . import (
    WIDTHS,
    Given,
    beyond,
    build_stage,
    fits_text,
    inputs,
    must_agree,
    result,
    settings,
    site_of,
    stir,
    stirred,
)  # fmt: skip

SIZES = ((1, 1, 1, 1), (1, 1, 5, 3), (3, 3, 7, 1), (6, 2, 3, 9), (4, 1, 8, 4), (2, 2, 197, 130))
"""Items, rows, L and M."""

NEAR, NEAR_IDENTITY = 1e-4, 1e-5
OTHER_SCALES = (0.5, 0.1, 1.0, 0.01)


def builds_at_any_width(subject: Subject) -> None:
    """Build at several widths, and run once at each."""
    for widths in WIDTHS:
        said = "{} (text), {} (vision) and {} (joint)".format(*widths)
        for setting in settings(subject, widths):
            stage = build_stage(subject, setting)
            if setting.tower == "text" and not fits_text(stage):
                what = "inserts tokens" if stage.inserts else f"attends to the {stage.context_kind} context"
                raise Breach(f"it sits in the text tower and {what}, which a stage of the vision tower can")
            given = inputs(stage, setting, items=2)
            _returned(stage, given, f"in the {setting.tower} tower, of widths {said}")


def keeps_the_shape(subject: Subject) -> None:
    """Run at several sizes, with and without a mask."""
    for setting in settings(subject):
        stage = stirred(subject, setting)
        for items, rows, length, context_length in SIZES:
            for masked in (True, False):
                sizes = {"items": items, "rows": rows, "length": length, "context_length": context_length}
                given = inputs(stage, setting, masked=masked, **sizes)
                said = f"with {items} items of {length} tokens"
                if given.context is not None:
                    said += f", {rows} context rows of {context_length} tokens, {'a' if masked else 'no'} mask"
                changed = _returned(stage, given, said)
                if changed.shape != (items, length + stage.inserts, setting.width):
                    more = f", with {stage.inserts} tokens to insert" if stage.inserts else ""
                    raise Breach(f"{said}, {list(given.tokens.shape)} became {list(changed.shape)}{more}")
                if not changed.isfinite().all():
                    raise Breach(f"{said}, the result is not finite")


def changes_nothing_in_place(subject: Subject) -> None:
    """Compare the arguments with copies, in evaluation and in training."""
    for setting in settings(subject):
        stage = stirred(subject, setting)
        for training in (False, True):
            given, before = inputs(stage, setting), inputs(stage, setting)
            result(stage.train(training), given)
            for (said, now), then in zip(given.tensors.items(), before.tensors.values(), strict=True):
                if not torch.equal(now, then):
                    raise Breach(f"an argument of forward was changed: {said}")


def scale_0_is_identity(subject: Subject) -> None:
    """Build with `scale = 0`; what is learnt may begin at the scale, and is then left as it begins."""
    if "scale" not in subject.component.options.model_fields:
        raise NotApplicable("the options have no `scale`")
    if not _takes(subject, 0.0):
        raise NotApplicable("the options refuse a scale of 0")
    other = next((scale for scale in OTHER_SCALES if _takes(subject, scale)), 0.0)
    for setting in settings(subject):
        stage = build_stage(subject, setting, scale=0.0).eval()
        given = inputs(stage, setting)
        stir(stage, but=_set_by_scale(stage, build_stage(subject, setting, scale=other)))
        own = result(stage, given)[:, : given.tokens.shape[1]]
        must_agree(own, given.tokens, "with scale = 0 the tokens changed", tolerance=NEAR_IDENTITY)


def _takes(subject: Subject, scale: float) -> bool:
    try:
        subject.options(scale=scale)
    except ValidationError:
        return False
    return True


def _set_by_scale(stage: AttentionStage, other: AttentionStage) -> set[str]:
    """Name the parameters that begin elsewhere at another scale, and those of their module where that is a part."""
    values = dict(other.named_parameters())
    named = {name for name, here in stage.named_parameters() if name in values and not torch.equal(here, values[name])}
    parts = {name.rpartition(".")[0] for name in named} - {""}
    return named | {name for name, _ in stage.named_parameters() if name.rpartition(".")[0] in parts}


def _returned(stage: AttentionStage, given: Given, said: str) -> Tensor:
    try:
        changed = result(stage, given)
    except Exception as error:
        raise Breach(f"{said}, forward raised {type(error).__name__}: {error}") from error
    if not isinstance(changed, Tensor):
        raise Breach(f"{said}, forward returned {type(changed).__name__}")
    return changed


def attention_weights_are_weights(subject: Subject) -> None:
    """Shared rows and a mask; in training mode, under two seeds."""
    for setting in settings(subject):
        stage = stirred(subject, setting)
        given = inputs(stage, setting)
        seen = given.seen
        if not isinstance(stage, ShowsAttention):
            raise NotApplicable("the stage has no attention_weights")
        for items, masked in ((6, True), (2, False)):
            _check_weights(stage, inputs(stage, setting, items=items, masked=masked))
        before = result(stage, given)
        one, two = (_weights(stage.train(), given.tokens, seen, seed) for seed in (1, 2))
        if beyond(one, two, tolerance=NEAR):
            raise Breach("the weights depend on the torch seed in training mode, as dropout makes them")
        if beyond(result(stage.eval(), given), before, tolerance=NEAR):
            raise Breach("forward gives another result after attention_weights was called")


def _check_weights(stage: AttentionStage, given: Given) -> None:
    weights, seen = _weights(stage, given.tokens, given.seen, seed=0), given.seen.expanded(len(given.tokens))
    items, length, many = len(given.tokens), given.tokens.shape[1], seen.tokens.shape[1]
    if weights.dim() != 4 or weights.shape != (items, weights.shape[1], length, many):
        expected = f"[{items}, heads, {length}, {many}]"
        raise Breach(f"the weights have shape {list(weights.shape)} in place of {expected}")
    if not weights.isfinite().all() or (weights < 0).any():
        raise Breach("some weights are negative or not finite")
    if beyond(weights.sum(dim=-1), torch.ones(weights.shape[:-1]), tolerance=NEAR):
        raise Breach("the weights of a query do not sum to 1 over the context tokens")
    if seen.mask is not None and (weights * ~seen.mask[:, None, None]).any():
        raise Breach("a context token behind the mask has a weight")


def _weights(stage: AttentionStage, tokens: Tensor, seen: Context, seed: int) -> Tensor:
    assert isinstance(stage, ShowsAttention)
    torch.manual_seed(seed)
    with torch.no_grad():
        return stage.attention_weights(tokens, seen, **site_of(stage))
