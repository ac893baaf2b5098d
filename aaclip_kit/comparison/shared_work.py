"""Several commands on one study at once: each does what no other is at work on, and nothing is done twice."""

from collections.abc import Callable, Sequence, Set
from typing import Final, TypeVar

Thing = TypeVar("Thing")

_MOST_TURNS: Final = 5
"""How often what was passed over is tried again: a lock that this machine does not see would be tried for ever."""


def share(
    todo: Callable[[], Sequence[Thing]],
    attempt: Callable[[Sequence[Thing]], Set[Thing]],
    is_busy: Callable[[Thing], bool],
) -> None:
    """Attempt what is to do, and again what others were at work on and have let go of, such as one that died.

    `attempt` returns what it passed over. In the end all that is left is at work elsewhere.
    """
    passed = attempt(todo())
    for _ in range(_MOST_TURNS):
        again = [thing for thing in todo() if thing in passed and not is_busy(thing)]
        if not again:
            return
        passed = (passed - set(again)) | attempt(again)
