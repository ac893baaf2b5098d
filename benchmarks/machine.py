"""What the machine can do, measured beside every figure: a time says nothing without it."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch


def matmul_peak(size: int = 2048, tries: int = 7) -> float:
    """Best rate of a float32 matrix product in GFLOP/s, on the CPU with torch's threads."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    left @ right
    best = min(_timed(left, right) for _ in range(tries))
    return 2 * size**3 / best / 1e9


def main_job(out: Path, overrides: Iterable[str] = ()) -> list[str]:
    """The command line of `aakit run experiments/feedback.toml`."""
    file = Path(__file__).parents[1] / "experiments" / "feedback.toml"
    command = [sys.executable, "-m", "aaclip_kit", "run", str(file), "--out", str(out)]
    for override in overrides:
        command += ["--set", override]
    return command


def describe() -> str:
    """One line about the machine."""
    memory = psutil.virtual_memory().total / 2**30
    software = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    hardware = f"{psutil.cpu_count()} CPU cores, {memory:.0f} GiB"
    return f"{hardware}, {software}, matmul peak {matmul_peak():.0f} GFLOP/s (float32)"


def _timed(left: torch.Tensor, right: torch.Tensor) -> float:
    start = time.perf_counter()
    left @ right
    return time.perf_counter() - start
