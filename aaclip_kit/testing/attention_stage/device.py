"""Devices and half precision. Without CUDA, torch's meta device tells whether tensors stay with the tokens."""

from dataclasses import replace
from itertools import product
from operator import methodcaller
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...contracts.stage import StageSetting
from ..subject import Breach, NotApplicable, Subject
from . import inputs, must_agree, result, settings, stirred

READS_VALUES = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique")
MOVES = ("_to_copy", "copy_")
CUDA_TOLERANCE = 1e-3
HALF_TOLERANCE = 0.05
"""Bfloat16 keeps 8 bits: one rounding is 0.4 %, and a stage has several."""


def stays_on_the_device(subject: Subject) -> None:
    """Run without data first, and then, where there is CUDA, with."""
    for setting in settings(subject):
        if torch.cuda.is_available():
            _on_cuda(subject, setting)
        _on_meta(subject, setting)


def _on_meta(subject: Subject, setting: StageSetting) -> None:
    stage = stirred(subject, setting)
    given = inputs(stage, setting).each(methodcaller("to", "meta"))
    try:
        with _Watch():  # type: ignore[no-untyped-call]
            changed = result(stage.to("meta"), given)
    except NotImplementedError as error:
        raise NotApplicable(f"the stage cannot be run without data, so only CUDA can tell: {error}") from None
    if changed.device.type != "meta":
        raise Breach(f"tokens on another device than the CPU came back on the {changed.device.type}")


def _on_cuda(subject: Subject, setting: StageSetting) -> None:
    stage = stirred(subject, setting)
    given = inputs(stage, setting)
    expected = result(stage, given)
    there = result(stage.to("cuda"), given.each(methodcaller("to", "cuda")))
    if there.device.type != "cuda":
        raise Breach(f"tokens on a CUDA device came back on the {there.device.type}")
    must_agree(there.cpu(), expected, "on a CUDA device the result differs", tolerance=CUDA_TOLERANCE)


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
            raise Breach(f"a tensor made on the CPU meets the tokens, which are on another device, in aten.{name}")
        return func(*args, **(kwargs or {}))


def bf16_is_near(subject: Subject) -> None:
    """Compare autocast with float32; the context has been made under autocast, the tokens' stream is in float32."""
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    for device, setting in product(devices, settings(subject)):
        stage = stirred(subject, setting).to(device)
        given = inputs(stage, setting).each(methodcaller("to", device))
        exact, half = result(stage, given), given
        if given.context is not None:
            half = replace(given, context=replace(given.context, tokens=given.context.tokens.bfloat16()))
        with torch.autocast(device, dtype=torch.bfloat16):
            rough = result(stage, half)
        if not rough.isfinite().all():
            raise Breach("the result under bf16 autocast is not finite")
        error = float(vector_norm(rough.float() - exact) / vector_norm(exact))
        if error > HALF_TOLERANCE:
            raise Breach(f"under bf16 autocast the result is off by {100 * error:.1f} % of its norm")
