"""Which of several processes this one is, and what part of the work is its own. Nothing here needs torch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..contracts.errors import UserError

Thing = TypeVar("Thing")

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process in its environment."""


@dataclass(frozen=True)
class Ranks:
    """This process among `size` that compute together; `local` counts those of this machine alone."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> "Ranks":
        """What torchrun says; one process alone where it is not all said. Raises `UserError` for no numbers."""
        if not all(environment.get(name) for name in _NAMES):
            return ALONE
        try:
            rank, size, local = (int(environment[name]) for name in _NAMES[:3])
        except ValueError:
            rank, size, local = -1, 0, 0
        if not 0 <= rank < size or local < 0:
            said = ", ".join(f"{name}={environment[name]}" for name in _NAMES[:3])
            fix = "start the processes with torchrun, or unset these variables"
            raise UserError(f"{said} name no process among others", where="environment", fix=fix)
        return cls(rank, size, local)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def shares(self, count: int) -> tuple[range, ...]:
        """`count` things in order, cut into one contiguous share a process, whose sizes differ by one at most."""
        cuts = [-(-count * rank // self.size) for rank in range(self.size + 1)]
        return tuple(map(range, cuts, cuts[1:]))

    def own(self, things: Sequence[Thing]) -> Sequence[Thing]:
        """This process's share of some things."""
        share = self.shares(len(things))[self.rank]
        return things[share.start : share.stop]


ALONE = Ranks()
"""One process, as without torchrun."""
