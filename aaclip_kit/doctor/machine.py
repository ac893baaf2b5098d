"""The machine: its processor and memory, as a run on the CPU would have them, its disk, and its CUDA devices."""

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from ..cache.folder import VARIABLE, default_folder, entries
from ..files.system import usable_cores
from ..record.run_folder import default_run_path
from .examine import GB, Finding

LITTLE: Final = 2 * GB
"""Free memory that is little for a run of the embedded model: its peak is 1.2 GB (docs/notebook/results.md)."""

_MEASURING: Final = 0.3
"""Seconds that the rate of matrix products is measured for."""

LEAST: Final = 0.2 * GB
"""Room that a few runs of the embedded model with their drawn images, 0.04 GB the first, may use up."""

SMALL: Final = 5 * GB
"""Room below which a ViT-L's weights, its checkpoints or kept features soon fill the disk."""

KERNEL_MODULE: Final = Path("/proc/driver/nvidia/version")
"""Where the driver tells its version without nvidia-smi."""

_PATIENCE: Final = 20.0
"""Seconds that nvidia-smi may take."""


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
    import psutil  # its own: where it is missing, what else is looked at here is told all the same

    whole = psutil.virtual_memory()
    free = _free_within_limits()
    found = f"{whole.available / GB:.1f} of {whole.total / GB:.1f} GB free"
    if free is not None and free < whole.available:
        found += f", and {free / GB:.1f} GB left within this process's limit"
    if (whole.available if free is None else free) < LITTLE:
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


def disk() -> Iterator[Finding]:
    """The folder of runs, the user's cache and the temporary folder."""
    yield place("runs", default_run_path("x").parent.absolute(), "run elsewhere, or name another folder with --out")
    advice = f"set the environment variable {VARIABLE} to a folder with room that you may write"
    yield place("cache folder", default_folder().parent.absolute(), advice)
    advice = "set the environment variable TMPDIR to a folder with room that you may write"
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError as error:
        yield Finding("temporary folder", "bad", str(error), advice)
    else:
        yield place("temporary folder", temporary, advice)


def place(name: str, folder: Path, advice: str) -> Finding:
    """Whether a folder, or the nearest there is above it, can be written, and its free room; nothing stays there."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(name, "bad", f"{folder} cannot be written: {error.strerror or error}", advice)
    found = f"{folder}: {free / GB:.1f} GB free"
    if free < LEAST:
        return Finding(name, "bad", found, f"free some; or {advice}")
    if free < SMALL:
        return Finding(name, "note", found, f"for large models, free some; or {advice}")
    return Finding(name, "good", found)


def cache() -> Iterator[Finding]:
    """How much is kept in the default store of frozen features."""
    folder = default_folder()
    try:
        stored = entries(folder)
    except OSError as error:
        advice = f"{folder} must be a folder that you may read; or set {VARIABLE} to another"
        yield Finding("kept features", "bad", f"{folder} cannot be read: {error.strerror or error}", advice)
        return
    size = sum(entry.size for entry in stored)
    yield Finding("kept features", "good", f"{folder}: {len(stored):,} entries, {size / GB:.2f} GB")


def cuda() -> Iterator[Finding]:
    """Driver and build against each other; then each device with its memory and whether it computes."""
    import torch

    driver, build, fault = driver_version(), torch.version.cuda, _why_unusable(torch)
    if fault is None:
        said = f"driver {driver}" if driver else "a driver that does not tell its version"
        yield Finding("cuda", "good", f"{said}, torch built for CUDA {build}")
        for number in range(torch.cuda.device_count()):
            yield device(torch, number)
    else:
        yield without_device(driver, build, fault)


def without_device(driver: str | None, build: str | None, fault: str) -> Finding:
    """Why torch sees no device, and whether that is as it should be."""
    if driver is None and build is None:
        return Finding("cuda", "good", "no NVIDIA driver, torch built without CUDA: runs use the CPU")
    if driver is None:
        found = f"torch is built for CUDA {build}, but there is no NVIDIA driver: runs use the CPU"
        return Finding("cuda", "note", found, "install the driver if there is an NVIDIA card; nothing otherwise")
    if build is None:
        found = f"driver {driver} is there, but torch is built without CUDA: runs use the CPU"
        return Finding("cuda", "note", found, "install torch and torchvision built for CUDA to use the card")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden in ("", "-1"):
        found = f'driver {driver} is there, but CUDA_VISIBLE_DEVICES is "{hidden}": runs use the CPU'
        return Finding("cuda", "note", found, "unset CUDA_VISIBLE_DEVICES to use the card")
    found = f"driver {driver} is there, and torch is built for CUDA {build}, but cannot use it: {fault}"
    advice = f"upgrade the driver to one for CUDA {build}, or install torch built for the driver's CUDA (nvidia-smi)"
    return Finding("cuda", "bad", found, advice)


def device(torch: Any, number: int) -> Finding:
    """One device: whether a product comes out right there, its memory, and bf16 (emulation does not count)."""
    name = f"cuda:{number}"
    try:
        facts = torch.cuda.get_device_properties(number)
        ones = torch.ones(64, 64, device=name)
        right = bool(((ones @ ones) == 64).all())
        free, total = torch.cuda.mem_get_info(number)
        with torch.cuda.device(number):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    except Exception as error:
        line = str(error).strip().partition("\n")[0]
        advice = "see what uses it (nvidia-smi), and whether torch is built for it; device = 'cpu' does without"
        return Finding(name, "bad", f"does not compute: {type(error).__name__}: {line}", advice)
    found = f"{facts.name}, {free / GB:.1f} of {total / GB:.1f} GB free, compute capability {facts.major}.{facts.minor}"
    if not right:
        return Finding(name, "bad", f"{found}: a matrix product comes out wrong", "check the card and its driver")
    if not bf16:
        return Finding(name, "note", f"{found}, no bf16", "precision = 'auto' is fp32 there; 'fp16' may be faster")
    return Finding(name, "good", f"{found}, bf16")


def driver_version() -> str | None:
    """The NVIDIA driver's version; None without one."""
    if command := shutil.which("nvidia-smi"):
        asked = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
        with suppress(OSError, subprocess.SubprocessError):  # broken or stuck; the kernel's module may know
            ran = subprocess.run(asked, capture_output=True, text=True, timeout=_PATIENCE, check=True)
            if ran.stdout.strip():
                return ran.stdout.split()[0]
    return _module_version()


def _module_version() -> str | None:
    """From "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ..." and its kin."""
    try:
        words = KERNEL_MODULE.read_text(encoding="utf-8").partition("\n")[0].split()
    except OSError:
        return None
    return next((word for word in words if word[0].isdigit() and "." in word), "of an unknown version")


def _why_unusable(torch: Any) -> str | None:
    """Why torch has no CUDA device; None where it has one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it would warn of is raised below
        if torch.cuda.is_available():
            return None
        try:
            torch.cuda.init()
        except Exception as error:
            return str(error).strip().partition("\n")[0]
    return "no device"
