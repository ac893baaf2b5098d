"""Orderly stops: a signal is remembered, and the run ends where its state is whole."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from ..files.system import ENDING


class Stopped(Exception):
    """The run has ended because a signal asked for it; `code` is the exit code that shells expect of it."""

    def __init__(self, number: int) -> None:
        self.number, self.code = number, 128 + number
        super().__init__(signal.Signals(number).name)


class StopRequest:
    """Whether a signal has asked for an end."""

    def __init__(self) -> None:
        self.number: int | None = None

    def raise_if_asked(self) -> None:
        """Raise `Stopped` where one has."""
        if self.number is not None:
            raise Stopped(self.number)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """For a while, `ENDING` are noted in place of what they do; a second one of any of them does that at once.

        One that is ignored, as under `nohup`, stays so. Signals reach the main thread alone; in another one nothing
        changes.
        """
        before = {}
        with suppress(ValueError):
            for number in ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for other in ENDING:
            if signal.getsignal(other) == self._note:
                usual = signal.default_int_handler if other == signal.SIGINT else signal.SIG_DFL
                signal.signal(other, usual)
