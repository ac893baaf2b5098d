"""CUDA: the driver, torch's build, and every device."""

import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .finding import GB, Finding

KERNEL_MODULE: Final = Path("/proc/driver/nvidia/version")
_PATIENCE: Final = 20.0


def cuda() -> Iterator[Finding]:
    """Driver and build against each other; then each device with its memory and whether it computes."""
    import torch

    driver, build, fault = driver_version(), torch.version.cuda, _fault(torch)
    if fault is None:
        yield Finding("cuda", "good", f"{_driver_words(driver)}, torch built for CUDA {build}")
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
        advice = "precision = 'auto' is fp32 there; 'fp16' may be faster"
        return Finding(name, "note", f"{found}, no bf16", advice)
    return Finding(name, "good", f"{found}, bf16")


def driver_version() -> str | None:
    """The NVIDIA driver's version; None without one."""
    command = shutil.which("nvidia-smi")
    if command:
        asked = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            ran = subprocess.run(asked, capture_output=True, text=True, timeout=_PATIENCE, check=True)
        except (OSError, subprocess.SubprocessError):
            pass  # broken or stuck; the kernel's module may know
        else:
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


def _driver_words(driver: str | None) -> str:
    return f"driver {driver}" if driver else "a driver that does not tell its version"


def _fault(torch: Any) -> str | None:
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
