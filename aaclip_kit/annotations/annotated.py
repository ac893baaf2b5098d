"""What a file of annotations says: of which image, by whom, and the marks that are drawn on it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from ..contracts.errors import UserError
from .shapes import Patch

NO_LABEL: Final = "(no label)"
"""The label of a mark that its file gives none."""


@dataclass(frozen=True)
class Mark:
    """One thing drawn on an image: its label, its place in the file, and how it is drawn.

    `draw(width, height)` gives the pixels of an image of that size, and raises `Undrawable` for what is none.
    """

    label: str
    where: str
    draw: Callable[[int, int], Patch]
    is_crowd: bool = False


@dataclass
class Annotated:
    """What one annotator says of one image; `marks` is None where nobody has annotated it yet."""

    where: str
    names: tuple[str, ...]
    """What the image may be called, the likeliest first."""
    size: tuple[int, int] | None
    """(width, height) that the file states."""
    marks: list[Mark] | None
    faults: list[UserError] = field(default_factory=list)
    """What cannot be used, for which the image's mask would not be whole."""

    def refuse(self, problem: str, where: str, fix: str) -> None:
        """Note a fault of this image."""
        self.faults.append(UserError(problem, where=where, fix=fix))


class Tally:
    """Remarks, each with the number of things that it holds for and the first of them."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, object]] = {}

    def add(self, remark: str, what: object) -> None:
        """Count one more thing that a remark holds for."""
        count, first = self._found.get(remark, (0, what))
        self._found[remark] = count + 1, first

    def lines(self) -> list[str]:
        """A line for each remark."""
        return [f"{count} {remark}; the first is {first}" for remark, (count, first) in self._found.items()]


@dataclass
class Annotations:
    """All that a file of annotations says."""

    program: str
    """Whose format it is."""
    annotated: list[Annotated]
    faults: list[UserError] = field(default_factory=list)
    """Faults that belong to no image which the file names."""
    without_ending: bool = False
    """Whether images are named without what their files end in."""
    tally: Tally = field(default_factory=Tally)

    def labels(self) -> Iterable[str]:
        """Every mark's label."""
        return (mark.label for one in self.annotated for mark in one.marks or ())
