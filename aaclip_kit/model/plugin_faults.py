"""Where the engine meets a plugin's code: faults are found there and named, before they do harm somewhere else."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from ..contracts.data import Sample
from ..contracts.errors import UserError
from ..contracts.head import ImageTokens
from ..contracts.loss import Loss
from ..contracts.reference import Answer, Bank, Reference
from ..contracts.stage import AttentionStage, Context
from ..distributed.out_of_memory import is_out_of_memory
from ..plugin_host.registry import MEND


class PluginFault(UserError):
    """What a plugin's component did wrong while a model ran; the batch is named where it is known."""


def run_stage(
    stage: AttentionStage,
    tokens: Tensor,
    context: Context | None,
    where: str,
    numbers: bool,
    *,
    site: int = 0,
    inserts: int = 0,
) -> Tensor:
    """The tokens after a stage. Raises `PluginFault` for an exception, and for tokens of another form or place.

    `numbers` also looks whether they are finite, which waits for the device. `inserts` tokens are appended here.
    """
    changed = _forward(stage, where, tokens, context, **({"site": site} if stage.one_for_all_sites else {}))
    items, length, *width = tokens.shape
    if not isinstance(changed, Tensor) or changed.shape != (items, length + inserts, *width):
        problem = f"its forward returned {_form(changed)} for tokens of shape {tuple(tokens.shape)}"
        problem += f" with {inserts} to insert" if inserts else ""
        fix = "return the tokens in the shape that came, and what `inserts` counts behind them"
        raise PluginFault(problem, where=where, fix=fix)
    if changed.device != tokens.device or not changed.is_floating_point():
        given = f"tokens of {changed.dtype} on {changed.device} for {tokens.dtype} on {tokens.device}"
        fix = "make tensors with the tokens' device and dtype; register those that are kept, as parameters or buffers"
        raise PluginFault(f"its forward returned {given}", where=where, fix=fix)
    if numbers and tokens.isfinite().all() and not changed.isfinite().all():
        fix = "look for a division by zero, a softmax over nothing, or weights that have grown; or lower the rate"
        raise PluginFault("its forward returned NaN or infinity for finite tokens", where=where, fix=fix)
    return changed


def run_loss(loss: Loss, named: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """A loss's terms. Raises `PluginFault` for an exception, and for what are no named scalars."""
    terms = _forward(loss, where, **named)
    if terms == {}:
        raise PluginFault("its forward returned {}", where=where, fix=_SCALARS)
    return _scalars(terms, "forward", where)


_SCALARS: Final = 'return scalar tensors by name, such as {"focal": value}'


def run_answer(reference: Reference, bank: Bank, tokens: ImageTokens, where: str) -> Answer:
    """What a memory answers. Raises `PluginFault` for an exception: the bank may be another memory's, too."""
    try:
        return reference.answer(bank, tokens)
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        problem = f"its answer raised {type(error).__name__}: {error}"
        fix = f"use the bank of this checkpoint's run; or {MEND}"
        raise PluginFault(problem, where=where, fix=fix) from error


def stage_terms(stage: AttentionStage, where: str) -> dict[str, Tensor]:
    """A stage's own loss terms. Raises `PluginFault` for an exception, and for what are no named scalars."""
    try:
        return _scalars(stage.loss_terms(), "loss_terms", where)
    except UserError:
        raise
    except Exception as error:
        raise PluginFault(f"its loss_terms raised {type(error).__name__}: {error}", where=where, fix=MEND) from error


def _scalars(terms: Any, method: str, where: str) -> dict[str, Tensor]:
    if not (isinstance(terms, dict) and all(isinstance(one, Tensor) and one.numel() == 1 for one in terms.values())):
        given = {name: _form(one) for name, one in terms.items()} if isinstance(terms, dict) else _form(terms)
        raise PluginFault(f"its {method} returned {given}", where=where, fix=_SCALARS)
    return {name: term.reshape(()) for name, term in terms.items()}


@contextmanager
def naming_batch(doing: str, samples: Sequence[Sample]) -> Iterator[None]:
    """Say of a plugin's fault in here during what, and on which images, it happened."""
    try:
        yield
    except PluginFault as fault:
        problem = f"{fault.problem} ({doing}; images {files_of(samples)})"
        raise UserError(problem, where=fault.where, fix=fault.fix) from fault.__cause__


def files_of(samples: Sequence[Sample], most: int = 3) -> str:
    """The first image files of a batch."""
    return ", ".join([*(str(sample.image) for sample in samples[:most]), *(["..."] if len(samples) > most else [])])


def component_of(value: object, owner: str) -> str:
    """A component's class and the plugin it is of, for messages."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return f"({kind}, of {owner})" if owner else f"({kind})"


def _forward(module: nn.Module, where: str, *arguments: Any, **named: Any) -> Any:
    try:
        return module(*arguments, **named)
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        problem = f"its forward raised {type(error).__name__}: {error}"
        raise PluginFault(problem, where=where, fix=MEND) from error


def _form(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
