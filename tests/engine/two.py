"""Two real processes of this machine, for what happens between ranks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

from aaclip_kit.engine.ranks import Ranks


def in_two(folder: Path, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(ranks, *arguments)` returns in each of two processes that are one group; it is imported there."""
    multiprocessing.spawn(_child, (str(folder), function, arguments), nprocs=2, daemon=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def _child(rank: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.save(function(Ranks(rank, 2, rank), *arguments), f"{folder}/{rank}.pt")
    distributed.barrier()
    # As the command does. A group that is taken down waits for its thread, which now and then waits for Python's lock.
    os._exit(0)
