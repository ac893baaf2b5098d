"""What the service takes in, and what it says of what it does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ..contracts.errors import UserError, plain

_BODIES: Final = 16
"""Requests of the largest size that memory holds at once."""

_PICTURES: Final = 2 << 30
"""Bytes of the pictures that wait: they have the model's size, or with tiles their own."""

_LONGEST: Final = 400
"""Characters of a text that is repeated to a client."""


class Refusal(Exception):
    """A request that is not answered: the HTTP status, and what is wrong with it, for each image or at all."""

    def __init__(self, status: int, *faults: UserError, headers: dict[str, str] | None = None) -> None:
        self.status, self.faults, self.headers = status, faults, headers or {}
        super().__init__(status, *faults)

    @property
    def body(self) -> dict[str, Any]:
        """What the client is told."""
        return {"faults": [_told(fault) for fault in self.faults]}


def refusal(status: int, problem: str, fix: str, **headers: str) -> Refusal:
    """Return a refusal of a whole request; a `_` in the name of a header stands for "-"."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refusal(status, UserError(problem, fix=fix), headers=given)


def _told(fault: UserError) -> dict[str, str | None]:
    parts = {"image": fault.where, "problem": fault.problem, "fix": fault.fix}
    return {key: None if text is None else plain(text, _LONGEST) for key, text in parts.items()}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bytes of a request, pixels of an image, images that may wait at once, and seconds until there is an answer."""

    bytes: int = 32 << 20
    pixels: int = 50_000_000
    images: int = 64
    seconds: float = 60.0


class Budget:
    """Counts what is being worked on, so that what is accepted can be answered. It belongs to the event loop.

    A single request may have `one` at most, all together `most`; `things` says of what.
    """

    def __init__(self, things: str, most: int, one: int | None = None) -> None:
        self.things, self.most, self.one, self.taken = things, most, one or most, 0

    def check(self, count: int) -> None:
        """Raise `Refusal` for a request that is too large at any time."""
        if count > self.one:
            problem = f"the request has {count:,} {self.things}, and {self.one:,} are the most"
            raise refusal(413, problem, "send fewer or smaller images in a request")

    @contextmanager
    def taking(self, count: int) -> Iterator[None]:
        """Let a request in until the block ends. Raises `Refusal` for one that is too large, now or at all."""
        self.check(count)
        if self.taken + count > self.most:
            fix = "send it again in a moment"
            raise refusal(429, "too many images are waiting", fix, Retry_After="1")
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count


class Budgets:
    """Those of the bodies, of the images, and of their pictures in memory."""

    def __init__(self, limits: Limits) -> None:
        self.bodies = Budget("bytes", _BODIES * limits.bytes, limits.bytes)
        self.images = Budget("images", limits.images)
        self.pictures = Budget("bytes of pixels", _PICTURES)
