"""Commands in several processes, as torchrun starts them: they join here, and their errors are told once."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from ..contracts.errors import UserError
from ..distributed.ranks import Ranks
from .terminal import Debugging, say_lines

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_JOINING: Final = timedelta(minutes=10)
"""How long the first ranks wait until all are there."""

_PATIENCE: Final = timedelta(hours=2)
"""How long a rank waits for the others later: the first draws the pictures and writes the report alone."""

_MOMENT: Final = timedelta(seconds=10)
"""How long a rank that has failed as well waits until another's message stands."""


@contextmanager
def in_processes() -> Iterator[Ranks]:
    """This process among those that torchrun has started; nothing happens, and torch is not imported, for one alone.

    Only the first rank prints. A `UserError` ends every rank with exit code 2: the first to have one prints it, and
    torchrun ends those that wait for it.
    """
    ranks = Ranks.of_environment()
    if not ranks.is_distributed:
        yield ranks
        return
    from ..distributed.collectives import barrier

    store = _join(ranks)
    try:
        with (
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            redirect_stdout(sys.stdout if ranks.is_first else nowhere),
        ):
            yield ranks
            barrier(ranks)
    except UserError as error:
        _tell_once(error, store)
        _leave(2)
    except SystemExit as left:
        _leave(left.code if isinstance(left.code, int) else 1)
    _leave(0)


def _leave(code: int) -> NoReturn:
    """End the process now: the usual end waits for ranks that may not answer, or a thread of the group aborts it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def refuse_many_processes(what: str) -> None:
    """Raise `UserError` if torchrun has started several processes of something that one does."""
    with in_processes() as ranks:
        if ranks.is_distributed:
            raise UserError(f"{what} runs in one process, not in {ranks.size}", fix="start it without torchrun")


def tell(error: UserError) -> None:
    """Print each fault in one plain message."""
    if Debugging.on:
        traceback.print_exception(error)
        for fault in error.faults:
            if fault is not error and fault.__cause__ is not None:
                traceback.print_exception(fault)
    for fault in error.faults:
        say_lines(f"error: {fault}", file=sys.stderr)


def _join(ranks: Ranks) -> "Store":
    """Join the process group; returns a store that all ranks see."""
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    backend = "gloo"
    if torch.cuda.is_available() and ranks.local < torch.cuda.device_count():
        torch.cuda.set_device(ranks.local)
        backend = "cpu:gloo,cuda:nccl"
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=_JOINING)))
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    except RuntimeError as error:
        problem = f"the {ranks.size} processes that torchrun names did not come together ({str(error).splitlines()[0]})"
        fix = "start all of them, on machines that reach one another"
        raise UserError(problem, where="torchrun", fix=fix) from error
    return PrefixStore("aakit", store)


def _tell_once(error: UserError, store: "Store") -> None:
    """Print the error unless another rank has had one; that of a rank which has lost the others follows from theirs."""
    from ..distributed.collectives import Lost

    with suppress(RuntimeError):  # the other could not tell, or the store has gone with the process that kept it
        if isinstance(error, Lost) or store.add("failed", 1) > 1:
            store.wait(["told"], _MOMENT)
            return
    tell(error)
    with suppress(RuntimeError):
        store.set("told", "")
