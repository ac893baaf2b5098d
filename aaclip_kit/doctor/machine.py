"""The processor and the memory, as a run on the CPU would have them."""

import os
from collections.abc import Iterator
from time import perf_counter
from typing import Final

import psutil

from .finding import GB, Finding

LITTLE: Final = 2 * GB
"""Free memory that leaves little to spare to a run of the embedded model, whose peak is 1.2 GB.

Measured in docs/notebook/results.md.
"""

_MEASURING: Final = 0.3
"""Seconds that the rate of matrix products is measured for."""


def processor() -> Iterator[Finding]:
    """Cores that this process may use, torch's threads, and the rate of a float32 matrix product."""
    import torch

    cores, threads = usable_cores(), torch.get_num_threads()
    found = f"cores: {cores}, torch's threads: {threads}, {matmul_rate():.0f} GFLOP/s in float32"
    given = os.environ.get("OMP_NUM_THREADS")
    if threads > cores:
        yield Finding("processor", "note", found, f"set OMP_NUM_THREADS={cores}: more threads than cores wait")
    elif threads < cores and given:
        advice = f"unset OMP_NUM_THREADS (it is {given}) to use the others, unless several runs share this machine"
        yield Finding("processor", "note", found, advice)
    else:
        yield Finding("processor", "good", found)


def usable_cores() -> int:
    """Cores that the system lets this process use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS, not on Windows
        return os.cpu_count() or 1


def matmul_rate(side: int = 1024) -> float:
    """Best rate within a fraction of a second, in GFLOP/s, on the CPU with torch's threads."""
    import torch

    left, right = torch.randn(side, side), torch.randn(side, side)
    left @ right
    best, end = float("inf"), perf_counter() + _MEASURING
    while (began := perf_counter()) < end:
        left @ right
        best = min(best, perf_counter() - began)
    return 2 * side**3 / best / 1e9


def memory() -> Iterator[Finding]:
    """What is free, of the machine and within the limit of this process's group."""
    whole = psutil.virtual_memory()
    free = _free_within_limits()
    found = f"{whole.available_memory / GB:.1f} of {whole.total / GB:.1f} GB free"
    if free is not None and free < whole.available_memory:
        found += f", and {free / GB:.1f} GB left within this process's limit"
    if (whole.available_memory if free is None else free) < LITTLE:
        advice = "end other programs, or raise the limit; a run tells beforehand when a step does not fit"
        yield Finding("memory", "note", found, advice)
    else:
        yield Finding("memory", "good", found)


def _free_within_limits() -> int | None:
    """As a run counts it, which needs torch; None where that cannot be imported, as a finding of its own tells."""
    try:
        import torch

        from ..distributed.available_memory import available_memory
    except (ImportError, OSError):
        return None
    return available_memory(torch.device("cpu"))
