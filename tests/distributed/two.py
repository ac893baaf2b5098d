"""Two real processes of this machine, for what happens between ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from aaclip_kit.distributed.ranks import Ranks
from tools.pretraining.workers import run_workers


def in_two(folder: Path, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(ranks, *arguments)` returns in each of two processes that are one group; it is imported there."""
    run_workers(2, folder, _child, folder, function, arguments)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def _child(rank: int, folder: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.save(function(Ranks(rank, 2, rank), *arguments), folder / f"{rank}.pt")
    distributed.barrier()
