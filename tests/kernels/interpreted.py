"""What the Triton kernels give on a CPU, in Triton's interpreter: to be run with TRITON_INTERPRET=1, by itself.

python -m tests.kernels.interpreted EXPERIMENT OUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aaclip_kit import norm_matched_residual
from aaclip_kit.kernels import triton_norm_matched
from aaclip_kit.kernels.norm_matched import _operator, fused_residual, why_not_fused

from ..build import build, plan_for, train
from ..helpers import gradient_of
from .cases import CASES, Case, compiles_choices

CPU = torch.device("cpu")


def main(experiment: Path, out: Path) -> None:
    """Try everything and save what came of it."""
    launches = count_launches()
    found: dict[str, Any] = {"why_not": why_not_fused(CPU)}
    found["launches of the trial"], launches[:] = len(launches), []
    with fused_residual(True):
        found["cases"] = {name: result(case) for name, case in CASES.items()}
        found["compiled"] = compiled(CASES["a learned scale"]) if compiles_choices() else None
        found["launches of cases"], launches[:] = len(launches), []
        norm_matched_residual(*CASES["a single row"].inputs(torch.float64))
        found["launches in float64"] = len(launches)
    found["autocast"] = autocast(CASES["bfloat16"])
    for name in ("a learned scale", "a width that is no power of two"):
        check_operator(CASES[name])
    for choice in ("off", "on"):
        launches.clear()
        found[f"training, {choice}"] = losses(experiment, choice)
        found[f"launches, {choice}"] = len(launches)
    torch.save(found, out)


def count_launches() -> list[str]:
    """A list that grows by the name of every kernel that is launched."""
    launched: list[str] = []
    launch = triton_norm_matched._launch

    def counted(kernel: Any, like: Tensor, tensors: Any, numbers: Any, learned: bool) -> None:
        launched.append(kernel.__name__)
        launch(kernel, like, tensors, numbers, learned)

    triton_norm_matched._launch = counted
    return launched


def result(case: Case) -> dict[str, Tensor]:
    """Joined tokens and the gradients for what was given."""
    given = case.inputs()
    joined = norm_matched_residual(*given, case.keep, case.eps)
    joined.backward(case.gradient().to(joined.dtype))
    names = zip(("tokens", "update", "scale"), given, strict=True)
    slopes = {name: value.grad for name, value in names if isinstance(value, Tensor) and value.grad is not None}
    return {"joined": joined.detach(), **slopes}


def compiled(case: Case) -> dict[str, Tensor]:
    """The same through torch.compile, which must take in the whole."""
    tokens, update, scale = case.inputs()
    whole = torch.compile(norm_matched_residual, backend="aot_eager", fullgraph=True)
    joined = whole(tokens, update, scale, case.keep, case.eps)
    joined.backward(case.gradient())
    assert isinstance(scale, Tensor)
    slopes = {name: gradient_of(value) for name, value in (("tokens", tokens), ("update", update), ("scale", scale))}
    return {"joined": joined.detach(), **slopes}


def autocast(case: Case) -> dict[str, Tensor]:
    """Under autocast, which must leave the operator and its gradient alone."""
    with torch.autocast("cpu", torch.float16), fused_residual(True):
        return result(case)


def check_operator(case: Case) -> None:
    """Torch's own checks of a registered operator. They raise where its parts do not agree."""
    tokens, update, scale = case.inputs()
    given, factor = (scale, 1.0) if isinstance(scale, Tensor) else (None, scale)
    torch.library.opcheck(_operator, (tokens, update, given, factor, case.keep, case.eps, torch.float32))


def losses(experiment: Path, choice: str) -> dict[str, list[float]]:
    """Losses and gradient norms of one epoch of each phase, with trained adapters and both attentions."""
    run = build(experiment, "device=cpu", "precision=fp32", f"compute.fused_residual={choice}")
    steps = [step for tower in ("text", "vision") for step in train(run, plan_for(tower))]
    norms = [norm for step in steps for norm in step.gradient_norms.values()]
    return {"losses": [step.loss for step in steps], "gradient norms": norms}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
