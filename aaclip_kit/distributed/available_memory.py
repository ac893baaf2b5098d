"""How much memory a device has left for this process, and how the process gives back what it does not need."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""The numbers of these parameters in glibc's malloc.h."""


def available_memory(device: torch.device) -> int:
    """Bytes: of a CUDA device what is free and what torch holds unused; else the machine's, and its cgroups'."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min([psutil.virtual_memory().available, *_left_in_cgroups()])


def give_back_at_once() -> None:
    """From now on a large tensor that is freed goes back to the system at once, at some cost in time.

    glibc keeps such pieces for later, which may be half as much again as the tensors that a training step holds. With
    other C libraries nothing happens.
    """
    _tell_malloc(_M_MMAP_THRESHOLD, 2**20)


def keep_for_later() -> None:
    """From now on up to 1 GiB that is freed stays with the process, in pieces of up to 32 MiB, for the next step.

    By default glibc gives most of it back, and the system clears every page before a step gets it again.
    """
    _tell_malloc(_M_MMAP_THRESHOLD, 2**25)  # more is refused
    _tell_malloc(_M_TRIM_THRESHOLD, 2**30)


def _tell_malloc(parameter: int, value: int) -> None:
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(parameter, value)


def _left_in_cgroups() -> Iterator[int]:
    """What is left in the group of this process and in those around it, where they have a limit (cgroup v2)."""
    try:
        lines = OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return
    for folder in (CGROUPS / own, *(CGROUPS / own).parents):
        if folder.is_relative_to(CGROUPS) and (left := _left_in(folder)) is not None:
            yield left


def _left_in(group: Path) -> int | None:
    try:
        most = (group / "memory.max").read_text(encoding="utf-8").strip()
        used = int((group / "memory.current").read_text(encoding="utf-8"))
        counts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return None
    # The kernel gives up files that nobody has used lately before it lets a process die.
    return None if most == "max" else max(0, int(most) - used + int(counts.get("inactive_file", 0)))
