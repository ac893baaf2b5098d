"""How a signal ends a command: in words, and with the code that shells expect."""

from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT
from typing import Final

from ..run.stop import Stopped, StopRequest
from .terminal import say

NOTHING: Final = "nothing is written"
DONE: Final = "what is done is kept, and the same command goes on"


@contextmanager
def ended_by_signals(
    left: str = NOTHING, *, stop: StopRequest | None = None, ctrl_c_is_good: bool = False
) -> Iterator[StopRequest]:
    """Let a signal end the command where it asks `stop`, as before its next image; a second one ends it at once.

    `left` says what then is there. Ctrl-C is how a command ends well that has no end of its own.
    """
    stop = stop or StopRequest()
    try:
        with stop.listening():
            yield stop
    except Stopped as stopped:
        say(f"stopped by {stopped}: {left}")
        raise SystemExit(0 if ctrl_c_is_good and stopped.number == SIGINT else stopped.code) from None
