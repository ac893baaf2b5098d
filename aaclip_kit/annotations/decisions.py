"""What a file of annotations leaves open, and the user decides: nothing of it is guessed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ..contracts.errors import UserError, unknown
from ..data.find_files import ListRow

if TYPE_CHECKING:
    from .annotated import Annotated, Annotations, Mark

Nothing = StrEnum("Nothing", ["normal", "skip"])
"""What an image is on which nothing is marked."""

Crowds = StrEnum("Crowds", ["anomalous", "ignore"])
"""What the pixels of a crowd are."""

Annotators = StrEnum("Annotators", ["any", "all"])
"""Whose marks count where several have annotated an image: anybody's, or those that all agree on."""


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What the user has decided; None where nothing is."""

    class_name: str | None = None
    class_of_folder: bool = False
    """Whether an image's class is the first folder, below that of the images, that it lies in."""
    empty: Nothing | None = None
    unannotated: Nothing | None = None
    crowds: Crowds | None = None
    annotators: Annotators | None = None
    defects: tuple[str, ...] = ()
    """Labels that are anomalous; where there are none, all but those to be ignored."""
    ignored: tuple[str, ...] = ()
    """Labels whose pixels are neither normal nor anomalous."""

    def counts(self, mark: "Mark") -> bool:
        """Say whether a mark is anomalous or to be ignored."""
        return not self.defects or mark.label in self.defects or mark.label in self.ignored

    def is_ignored(self, mark: "Mark") -> bool:
        """Say whether a mark's pixels are neither normal nor anomalous."""
        return mark.label in self.ignored or (mark.is_crowd and self.crowds is Crowds.ignore)

    def class_of(self, image: Path, folder: Path) -> str:
        """The class of an image. Raises `UserError` for a folder's name that is none."""
        if self.class_name is not None:
            return _class_name(self.class_name, "--class")
        parts = image.relative_to(folder).parts
        if len(parts) < 2:
            fix = "put it into a folder that is called as its class, or name one class for all with --class"
            raise UserError(f"lies in no folder below {folder}", where=str(image), fix=fix)
        return _class_name(parts[0], str(image))


def _class_name(name: str, where: str) -> str:
    """A name as the list's reader will read it."""
    if (read := ListRow(where, {"class_name": name}).text("class_name")) is None:
        raise UserError(f"{name!r} is no name of a class", where=where, fix='name it as what is seen, such as "lid"')
    return read


def open_questions(
    found: "Annotations", images: "dict[Path, list[Annotated]]", bare: list[Path], decisions: Decisions
) -> Iterator[UserError]:
    """Each decision that these annotations need and that is not taken, or names a label that there is not.

    `images` has what is said of each image that is annotated; `bare` are those that are not.
    """
    labels = sorted(set(found.labels()))
    for option, wanted in (("--defect", decisions.defects), ("--ignore", decisions.ignored)):
        yield from (unknown(label, "label", labels, option) for label in wanted if label not in labels)
    if decisions.class_name is None and not decisions.class_of_folder:
        fix = (
            '--class NAME for all, such as "lid", or --class-of-folder where each lies in a folder called as its class'
        )
        yield UserError("what the images show is not said: labels are those of defects", where="--class", fix=fix)
    marks = [mark for of in images.values() for one in of for mark in one.marks or () if decisions.counts(mark)]
    sound = [image for image, of in images.items() if not any(one.faults for one in of)]
    empty = [image for image in sound if is_empty(images[image], decisions)]
    asked = (
        ("--empty", decisions.empty, empty, "images are annotated with nothing marked", "normal or skip"),
        ("--unannotated", decisions.unannotated, bare, "images are not annotated", "normal or skip"),
        ("--crowds", decisions.crowds, [mark.where for mark in marks if mark.is_crowd], _CROWD, "anomalous or ignore"),
        (
            "--annotators", decisions.annotators, [image for image, of in images.items() if len(of) > 1],
            "images are annotated more than once", "any (what anybody marked) or all (what all of them marked)",
        ),
    )  # fmt: skip
    for option, decision, things, what, choices in asked:
        if things and decision is None:
            yield _undecided(option, things, what, choices)


_CROWD = 'marks are crowds ("iscrowd"), which some programs say of every brush mask'


def _undecided(option: str, things: Iterable[object], what: str, choices: str) -> UserError:
    first, *others = things
    return UserError(f"{1 + len(others)} {what}; the first is {first}", where=option, fix=f"say {option} {choices}")


def is_empty(of: "list[Annotated]", decisions: Decisions) -> bool:
    """Say whether nobody has marked anything that counts on an image."""
    return not any(decisions.counts(mark) for one in of for mark in one.marks or ())
