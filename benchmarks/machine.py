"""What the machine can do, measured beside every figure: a time says nothing without it."""

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch


def matmul_peak(size: int = 2048, tries: int = 7) -> float:
    """Best rate of a float32 matrix product in GFLOP/s, on the CPU with torch's threads."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    left @ right
    best = min(_timed(left, right) for _ in range(tries))
    return 2 * size**3 / best / 1e9


def main_job(out: Path, overrides: Iterable[str] = (), place: Path | None = None) -> list[str]:
    """The command line of `aakit run experiments/feedback.toml`, of this checkout or of that in `place`."""
    file = (place or Path(__file__).parents[1]) / "experiments" / "feedback.toml"
    command = [sys.executable, "-P", "-m", "aaclip_kit", "run", str(file), "--out", str(out)]
    for override in overrides:
        command += ["--set", override]
    return command


@contextmanager
def checkout(place: Path | None) -> Iterator[dict[str, str]]:
    """The environment in which Python imports the packages of the checkout in `place`; as it is for None.

    The folder `plugins` is imported under another name, which an installation knows and a checkout does not.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ)
        if place is not None:
            for name, source in (("aaclip_kit", "aaclip_kit"), ("aaclip_kit_plugins", "plugins")):
                (Path(folder) / name).symlink_to(place / source, target_is_directory=True)
            environment["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
            # First on the module search path stands, with -m, the folder in which a command starts.
            environment["PYTHONSAFEPATH"] = "1"
        yield environment


def describe() -> str:
    """One line about the machine."""
    memory = psutil.virtual_memory().total / 2**30
    software = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    hardware = f"{psutil.cpu_count()} CPU cores, {memory:.0f} GiB"
    if torch.cuda.is_available():
        hardware += f", {torch.cuda.get_device_name()}"
    return f"{hardware}, {software}, matmul peak {matmul_peak():.0f} GFLOP/s (float32)"


def _timed(left: torch.Tensor, right: torch.Tensor) -> float:
    start = time.perf_counter()
    left @ right
    return time.perf_counter() - start
