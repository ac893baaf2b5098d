"""Data-parallel training on a few CPU cores: one single-threaded process a core.

Small matrices gain little from a second thread, and threads that wait for each other lose most of it again as soon as
another program wants a core; processes that meet once a step do not.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn


class Gradients:
    """All gradients in one buffer, with one place more for the wish to stop."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        owners = list(parameters)
        self._buffer = torch.zeros(sum(p.numel() for p in owners) + 1)
        start = 0
        for p in owners:
            p.grad = self._buffer[start : start + p.numel()].view_as(p)
            start += p.numel()

    def clear(self) -> None:
        """Set every gradient to zero."""
        self._buffer.zero_()

    def exchange(self, stop: bool = False) -> bool:
        """Average over the workers; true when any of them wants to stop."""
        self._buffer[-1] = float(stop)
        if distributed.is_initialized():
            distributed.all_reduce(self._buffer)
            self._buffer.div_(distributed.get_world_size())
        stopping = bool(self._buffer[-1] > 0)
        self._buffer[-1] = 0.0
        return stopping

    def clip(self, limit: float) -> None:
        """Scale all gradients so that their common norm is at most `limit`."""
        self._buffer.mul_((limit / (self._buffer.norm() + 1e-6)).clamp(max=1.0))


def _worker(rank: int, count: int, meeting: str, task: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    try:
        task(rank, *arguments)
    except BaseException:
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _leave(code: int) -> NoReturn:
    """End the process at once: torch 2.6's gloo, when it is taken down, now and then waits for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_workers(count: int, folder: Path, task: Callable[..., None], *arguments: Any) -> None:
    """Run `task(rank, *arguments)` in `count` processes that can exchange gradients.

    Raises `ProcessExitedException` where one fails; its traceback is on the screen.
    """
    meeting = (folder / "meeting").resolve()
    meeting.unlink(missing_ok=True)
    spawn(_worker, (count, str(meeting), task, arguments), nprocs=count, daemon=True)
