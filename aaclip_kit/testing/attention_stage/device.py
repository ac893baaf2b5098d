"""Tensors stay on the device of the tokens: on torch's meta device everywhere, and on CUDA where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...contracts.stage import StageSetting
from ..check import Found, NotApplicable
from ..subject import Subject
from .given import beyond, inputs, result, settings, stirred

READS_VALUES = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique")
MOVES = ("_to_copy", "copy_")
CUDA_TOLERANCE = 1e-3


def stays_on_the_device(subject: Subject) -> None:
    """Run without data first, and then, where there is CUDA, with."""
    for setting in settings(subject):
        if torch.cuda.is_available():
            _on_cuda(subject, setting)
        _on_meta(subject, setting)


def _on_meta(subject: Subject, setting: StageSetting) -> None:
    stage = stirred(subject, setting)
    given = inputs(stage, setting).to("meta")
    try:
        with _Watch():  # type: ignore[no-untyped-call]
            changed = result(stage.to("meta"), given)
    except NotImplementedError as error:
        raise NotApplicable(f"the stage cannot be run without data, so only CUDA can tell: {error}") from None
    if changed.device.type != "meta":
        raise Found(f"tokens on another device than the CPU came back on the {changed.device.type}")


def _on_cuda(subject: Subject, setting: StageSetting) -> None:
    stage = stirred(subject, setting)
    given = inputs(stage, setting)
    expected = result(stage, given)
    there = result(stage.to("cuda"), given.to("cuda"))
    if there.device.type != "cuda":
        raise Found(f"tokens on a CUDA device came back on the {there.device.type}")
    if difference := beyond(there.cpu(), expected, tolerance=CUDA_TOLERANCE):
        raise Found(f"on a CUDA device the result differs by {difference:.2g}")


class _Watch(TorchDispatchMode):
    """Sees every operation. Those that read values cannot run without data; others must not mix devices.

    A tensor without dimensions may stay on the CPU, and so may an index: CUDA allows both.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name in READS_VALUES and any(tensor.is_meta for tensor in given):
            raise NotApplicable(f"the stage reads values from the device (aten.{name}), so only CUDA can tell")
        given = given[:1] if name == "index" else given
        places = {tensor.device.type for tensor in given if tensor.dim()}
        if len(places) > 1 and name not in MOVES:
            raise Found(f"a tensor made on the CPU meets the tokens, which are on another device, in aten.{name}")
        run: Callable[..., Any] = func
        return run(*args, **(kwargs or {}))
