"""Orderly stops: a signal is remembered, and the run ends where its state is whole."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


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
        """For a while, SIGINT and SIGTERM are noted in place of what they do; a second one of either does that at once.

        Signals reach the main thread alone; in another one nothing changes.
        """
        before = {}
        with suppress(ValueError):
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
