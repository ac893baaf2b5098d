"""What two roles of one run have in common: images, the data set itself, classes, and their real names."""

from collections.abc import Sequence
from itertools import combinations

from ..contracts.errors import UserError
from .roles import Role
from .scan import DatasetScan

ALLOWED, NOT_ZERO_SHOT = "allow_overlap is set", "not zero-shot"
"""How the notes begin that a reader of results must see before any figure."""

_FIX = "use other classes or another folder for one of them, or set allow_overlap = true in [data]"


def compare(roles: Sequence[Role], allowed: bool) -> list[UserError]:
    """Faults between roles: a shared image, one data set in two roles, two real names of one class.

    Where overlap is allowed it is no fault: the later role's part of the manifest gets `overlap_allowed` and
    `shared_images` (how many of its images, by content, an earlier role has too), and its notes say so. They also name
    classes that two roles share.
    """
    faults: list[UserError] = []
    shared: dict[str, set[str]] = {}
    for one, other in combinations([role for role in roles if role.found], 2):
        first, second = _surveys(one, other)
        faults += _two_real_names(one, first, other, second)
        if both := [name for name in second.data.classes if name in first.data.classes]:
            other.notes.append(f"{NOT_ZERO_SHOT}: {one.where} has classes of the same name: {', '.join(both)}")
        images = _shared(first, second)
        if not (problem := _overlap(one, other, images)):
            continue
        if allowed:
            other.notes.append(f"{ALLOWED}: {problem}")
            shared.setdefault(other.name, set()).update(images)
            other.record |= {"overlap_allowed": True, "shared_images": len(shared[other.name])}
        else:
            faults.append(UserError(problem, where=f"{one.where} / {other.where}", fix=_FIX))
    return faults


def _surveys(one: Role, other: Role) -> tuple[DatasetScan, DatasetScan]:
    assert one.found and other.found
    return one.found, other.found


def _shared(first: DatasetScan, second: DatasetScan) -> dict[str, str]:
    """Checksum of each shared image to its two paths."""
    mine = {facts.image: sample.image for sample, facts in first.pairs}
    return {
        facts.image: f"{mine[facts.image]} = {sample.image}" for sample, facts in second.pairs if facts.image in mine
    }


def _overlap(one: Role, other: Role, images: dict[str, str]) -> str | None:
    """What two roles have in common that they must not."""
    names = f"{one.where} and {other.where}"
    if images:
        return f"{names} share {len(images)} images by content: {', '.join(list(images.values())[:3])}"
    first, second = _surveys(one, other)
    if first.data.name and first.data.name == second.data.name:
        return f"{names} are both the data set {first.data.name}"
    if (one.chosen.component, one.chosen.options) == (other.chosen.component, other.chosen.options):
        return f"{names} are the same data set with the same options"
    return None


def _two_real_names(one: Role, first: DatasetScan, other: Role, second: DatasetScan) -> list[UserError]:
    """Prompts go by class, so a class of two roles has one real name."""
    mine, theirs = first.data.real_names, second.data.real_names
    return [
        UserError(
            f"class '{name}' is '{mine[name]}' in {one.where} and '{theirs[name]}' here",
            where=f"{other.where}.real_names",
            fix="give it one real name in both",
        )
        for name in second.data.classes
        if name in theirs and mine.get(name, theirs[name]) != theirs[name]
    ]
