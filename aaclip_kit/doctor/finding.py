"""What a probe finds."""

from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["good", "note", "bad"]

GB: Final = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, in words, and what to do about it.

    "bad" makes something fail that should work; "note" is worth knowing, and costs speed or a feature at most.
    """

    name: str
    status: Status
    found: str
    advice: str | None = None
