"""The data sets of a run's roles, and the faults that lie between two roles: one picture, one set, two real names."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

from ..contracts.errors import UserError
from ..experiment import ComponentConfig
from .scan import DatasetScan
from .shared_pictures import Paths, first_pairs, near_copies, shared_pictures


@dataclass
class Found:
    """What was found of a data set; `scan` is None where it could not be built at all."""

    scan: DatasetScan | None = None
    faults: list[UserError] = field(default_factory=list)
    """What a run stops at."""
    notes: list[str] = field(default_factory=list)
    """Lines for the user."""
    record: dict[str, Any] = field(default_factory=dict)
    """What the run's manifest says beside the fingerprint."""


@dataclass(kw_only=True)
class RoleTable(Found):
    """One data set of a role: its table in the experiment file, its name in results, and what was found of it."""

    where: str
    label: str
    chosen: ComponentConfig


@dataclass(kw_only=True)
class Role(Found):
    """The data set of a role: that of its table, or those of its tables, joined."""

    name: str
    tables: tuple[RoleTable, ...]

    @property
    def where(self) -> str:
        """The role's table, or array of tables, in the experiment file."""
        return f"data.{self.name}"


ALLOWED, NOT_ZERO_SHOT, NEAR = "allow_overlap is set", "not zero-shot", "near copies"
"""How the notes begin that a reader of results must see before any figure."""

_FIX = "use other classes or another folder for one of them, or set allow_overlap = true in [data]"


def compare(roles: Sequence[Role], allowed: bool) -> list[UserError]:
    """Faults between roles: a shared image, one data set in two roles, two real names of one class.

    Where overlap is allowed it is no fault: the later role's part of the manifest gets `overlap_allowed` and
    `shared_images` (how many of its images, by content, an earlier role has too), and its notes say so. They also name
    classes that two roles share, and pictures that look like copies of an earlier role's: the manifest's `near_copies`
    has all pairs.
    """
    faults: list[UserError] = []
    shared: dict[str, set[str]] = {}
    for (one, first), (other, second) in combinations([(role, role.scan) for role in roles if role.scan], 2):
        faults += _two_real_names(one, first, other, second)
        remembered = "reference" in (
            one.name,
            other.name,
        )  # of the same classes, and of the same set, as they should be
        if not remembered and (both := [name for name in second.data.classes if name in first.data.classes]):
            other.notes.append(f"{NOT_ZERO_SHOT}: {one.where} has classes of the same name: {', '.join(both)}")
        images = shared_pictures(first, second)
        _notenear_copies(one, first, other, second, images)
        if not (problem := _overlap(one, other, list(images.values()), only_images=remembered)):
            continue
        if allowed:
            other.notes.append(f"{ALLOWED}: {problem}")
            shared.setdefault(other.name, set()).update(images)
            other.record |= {"overlap_allowed": True, "shared_images": len(shared[other.name])}
        else:
            faults.append(UserError(problem, where=f"{one.where} / {other.where}", fix=_FIX))
    return faults


def _notenear_copies(one: Role, first: DatasetScan, other: Role, second: DatasetScan, same: Container[str]) -> None:
    if near := near_copies(first, second, same):
        text = f"{len(near)} images look like copies of those of {one.where}, saved anew, resized or cropped"
        other.notes.append(f"{NEAR}: {text}: {first_pairs(near)}")
        other.record.setdefault("near_copies", []).extend([str(mine), str(theirs)] for mine, theirs in near)


def _overlap(one: Role, other: Role, images: list[Paths], only_images: bool) -> str | None:
    """What two roles have in common that they must not; `images` names those that both have."""
    if images:
        return f"{one.where} and {other.where} share {len(images)} images by content: {first_pairs(images)}"
    if only_images:
        return None
    problems = (_same_set(mine, theirs) for mine, theirs in product(one.tables, other.tables))
    return next((problem for problem in problems if problem), None)


def _same_set(one: RoleTable, other: RoleTable) -> str | None:
    """How two tables are one data set, where they are."""
    names = f"{one.where} and {other.where}"
    published, others = (table.scan.data.name if table.scan else None for table in (one, other))
    if published and published == others:
        return f"{names} are both the data set {published}"
    if (one.chosen.component, one.chosen.options) == (other.chosen.component, other.chosen.options):
        return f"{names} are the same data set with the same options"
    return None


def _two_real_names(one: Role, first: DatasetScan, other: Role, second: DatasetScan) -> list[UserError]:
    """Prompts go by class, so a class of two roles has one real name."""
    mine, theirs, where = first.data.real_names, second.data.real_names, f"{other.where}.real_names"
    clashing = [name for name in second.data.classes if name in theirs and mine.get(name, theirs[name]) != theirs[name]]
    problems = (f"class '{name}' is '{mine[name]}' in {one.where} and '{theirs[name]}' here" for name in clashing)
    return [UserError(problem, where=where, fix="give it one real name in both") for problem in problems]
