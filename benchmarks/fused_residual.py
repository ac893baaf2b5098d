"""The norm-matched residual at the shapes of ViT-L/14 at 518 px: plain formula, compiled formula, closed form, kernel.

python benchmarks/fused_residual.py              on a GPU: times, share of its copy bandwidth, and which should be used
python benchmarks/fused_residual.py --cpu        torch's operations alone, in float32 on one thread
python benchmarks/fused_residual.py --interpret  no times: the kernel in Triton's interpreter against float64, on a CPU
"""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from itertools import product

import torch
from machine import describe
from torch import Tensor
from torch.utils.benchmark import Timer

from aaclip_kit.kernels.norm_matched import ClosedForm, formula, fused, why_not_fused

Form = Callable[[Tensor, Tensor], Tensor]

SCALE, KEEP, EPS = 0.1, 1.0, 1e-6
SHAPES = [(batch, 1370, 1024) for batch in (2, 16)] + [(batch * 16, 12, 768) for batch in (2, 16)]
"""Tokens of images; and of 16 prompts an image, cut at 12 tokens."""
DTYPES = {
    "fp32": (torch.float32, torch.float32),
    "bf16": (torch.bfloat16, torch.bfloat16),
    "autocast": (torch.float32, torch.bfloat16),
}
"""Of tokens and update. Under autocast the stream is in float32 from the first stage on, an update in bfloat16."""
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}
SMALLEST_GAIN = 1.1


def main() -> None:
    """Do what is asked; exit code 1 for a kernel that is wrong, 2 where it cannot run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--cpu", action="store_true", help="time torch's operations on one thread of a CPU")
    modes.add_argument("--interpret", action="store_true", help="compare the kernel with float64 on a CPU")
    arguments = parser.parse_args()
    if arguments.cpu:
        torch.set_num_threads(1)
        print(describe())
        on_cpu()
        return
    if arguments.interpret:
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which is when the kernel is first used
    elif not torch.cuda.is_available():
        sys.exit(_refuse("needs a CUDA device; --cpu and --interpret do not"))
    device = torch.device("cpu" if arguments.interpret else "cuda")
    if reason := why_not_fused(device):
        sys.exit(_refuse(f"cannot time the kernel: {reason}"))
    check(device, [(2, 5, 768), (3, 1024)] if arguments.interpret else SHAPES)
    if not arguments.interpret:
        on_gpu()


def check(device: torch.device, shapes: Sequence[tuple[int, ...]]) -> None:
    """The kernel's values and gradients against the formula in float64, as shares of the largest value."""
    wrong = False
    for (name, dtypes), shape in product(DTYPES.items(), shapes):
        tokens, update, gradient = inputs(shape, dtypes, device)
        found = results(_fused, tokens, update, gradient)
        exact = results(_formula, tokens.double(), update.double(), gradient.double())
        errors = [
            float((one.double() - right).abs().max() / right.abs().max())
            for one, right in zip(found, exact, strict=True)
        ]
        bad = any(error > ROUNDING[one.dtype] for one, error in zip(found, errors, strict=True))
        wrong |= bad
        shown = ", ".join(f"{error:.1e}" for error in errors)
        print(f"{name:8} {_shape(shape):16} errors of joined, tokens, update: {shown}{'  WRONG' if bad else ''}")
    if wrong:
        sys.exit(1)


def on_cpu() -> None:
    """Times of the formula under autograd and of the closed form, which is what runs without the kernel."""
    for shape in [SHAPES[0], SHAPES[-1]]:
        given = inputs(shape, DTYPES["fp32"], torch.device("cpu"))
        times = {name: measured(form, *given) for name, form in (("formula", _formula), ("closed form", _closed))}
        for name, (forward, both) in times.items():
            print(f"{_shape(shape):16} {name:16} forward {forward * 1e3:7.2f} ms, with backward {both * 1e3:7.2f} ms")
        (slow, slower), (fast, faster) = times.values()
        print(f"{_shape(shape):16} closed form faster x {slow / fast:.2f}, with backward x {slower / faster:.2f}")


def on_gpu() -> None:
    """Times of every form, and whether the kernel is worth being the default."""
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, copies at {bandwidth / 1e9:.0f} GB/s")
    cases = product(DTYPES.items(), SHAPES)
    gains = [row(name, dtypes, shape, bandwidth) for (name, dtypes), shape in cases]
    mean = math.exp(sum(map(math.log, gains)) / len(gains))
    good = mean >= SMALLEST_GAIN and min(gains) >= 1
    print(
        f"kernel over the fastest other form, with backward: x {mean:.2f} (geometric mean), x {min(gains):.2f} at worst"
    )
    print(f'compute.fused_residual should be "{"on" if good else "off"}" by default')


def row(name: str, dtypes: tuple[torch.dtype, torch.dtype], shape: tuple[int, ...], bandwidth: float) -> float:
    """Print one shape's times; returns how many times faster the kernel is than the fastest other form."""
    tokens, update, gradient = inputs(shape, dtypes, torch.device("cuda"))
    torch.compiler.reset()  # or the shapes before would be among what a call is matched with
    forms = {
        "formula": _formula,
        "compiled": torch.compile(_formula, dynamic=False),
        "closed form": _closed,
        "kernel": _fused,
    }
    times = {form: measured(call, tokens, update, gradient) for form, call in forms.items()}
    into = tokens.nbytes + update.nbytes
    # Forward reads both and writes the result; backward reads both and its gradient, and writes two gradients.
    moved = (into + gradient.nbytes, into + gradient.nbytes + 2 * into + gradient.nbytes)
    for form, (forward, both) in times.items():
        shares = [amount / seconds / bandwidth for amount, seconds in zip(moved, (forward, both), strict=True)]
        print(
            f"{name:8} {_shape(shape):16} {form:12} forward {forward * 1e6:8.1f} us ({shares[0]:4.0%} of copies), "
            f"with backward {both * 1e6:8.1f} us ({shares[1]:4.0%})"
        )
    return min(both for form, (_, both) in times.items() if form != "kernel") / times["kernel"][1]


def measured(form: Form, tokens: Tensor, update: Tensor, gradient: Tensor) -> tuple[float, float]:
    """Median seconds of many calls: forward without gradients, and forward and backward."""
    names = {"form": form, "results": results, "tokens": tokens, "update": update, "gradient": gradient}
    threads = torch.get_num_threads()
    with torch.no_grad():
        forward = Timer("form(tokens, update)", globals=names, num_threads=threads).blocked_autorange(min_run_time=1)
    both = Timer("results(form, tokens, update, gradient)", globals=names, num_threads=threads)
    return forward.median, both.blocked_autorange(min_run_time=2).median


def results(form: Form, tokens: Tensor, update: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
    """Joined tokens and both gradients."""
    given = (tokens.detach().requires_grad_(), update.detach().requires_grad_())
    joined = form(*given)
    return joined.detach(), *torch.autograd.grad(joined, given, gradient)


def inputs(
    shape: tuple[int, ...], dtypes: tuple[torch.dtype, torch.dtype], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, update and what flows in from behind: noise."""
    generator = torch.Generator(device).manual_seed(0)
    noise = [torch.randn(shape, generator=generator, device=device) for _ in range(3)]
    return noise[0].to(dtypes[0]), noise[1].to(dtypes[1]), noise[2].to(torch.promote_types(*dtypes))


def copy_bandwidth() -> float:
    """Bytes a second that a large copy on the card reads and writes."""
    source = torch.empty(2**28, device="cuda")
    names = {"source": source, "target": torch.empty_like(source)}
    return 2 * source.nbytes / Timer("target.copy_(source)", globals=names).blocked_autorange(min_run_time=1).median


def _formula(tokens: Tensor, update: Tensor) -> Tensor:
    return formula(tokens, update, SCALE, KEEP, EPS)


def _closed(tokens: Tensor, update: Tensor) -> Tensor:
    joined: Tensor = ClosedForm.apply(tokens, update, SCALE, KEEP, EPS)
    return joined


def _fused(tokens: Tensor, update: Tensor) -> Tensor:
    return fused(tokens, update, SCALE, KEEP, EPS, torch.promote_types(tokens.dtype, update.dtype))


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _refuse(problem: str) -> int:
    print(problem, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
