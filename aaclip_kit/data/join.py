"""Several data sets in one role: a label for each, what keeps them from being one, and the one that they become."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from ..contracts.data import DataSet
from ..contracts.errors import UserError
from ..experiment import ComponentConfig
from .roles import RoleTable
from .scan import DatasetScan


def labels(chosen: Sequence[ComponentConfig]) -> list[str]:
    """The name of each data set in results: its table's `label`, else its `use`; of two alike, the second has a 2."""
    found: list[str] = []
    for one in chosen:
        label, number = one.selection.label or one.component.name, 1
        while (text := label if number == 1 else f"{label} {number}") in found:
            number += 1
        found.append(text)
    return found


def unjoinable(tables: Sequence[RoleTable]) -> list[UserError]:
    """Faults between the data sets of one role: a class that two of them have, and two domains."""
    faults = []
    read = [(table, table.scan.data) for table in tables if table.scan]
    for (one, first), (other, second) in combinations(read, 2):
        where = f"{one.where} / {other.where}"
        if both := [name for name in second.classes if name in first.classes]:
            problem = f"{one.label} and {other.label} have classes of the same name: {', '.join(both)}"
            fix = "leave them out of one with `classes`, or rename them there, as folders or in the list"
            faults.append(UserError(problem, where=where, fix=fix))
        if first.domain != second.domain:
            problem = f"{one.label} is {first.domain}, {other.label} is {second.domain}"
            fix = "one role has one domain, which sets the blur of its maps: use them in experiments of their own"
            faults.append(UserError(problem, where=where, fix=fix))
    return faults


def join(scans: Sequence[DatasetScan]) -> DatasetScan | None:
    """One scan of all samples in their order; None where there is none.

    Of several, each gives the real names of its own classes alone, and the whole bears no published name.
    """
    if len(scans) <= 1:
        return scans[0] if scans else None
    sets = [scan.data for scan in scans]
    data = DataSet(
        samples=tuple(sample for one in sets for sample in one.samples),
        real_names={name: one.real_names[name] for one in sets for name in one.classes if name in one.real_names},
        domain=sets[0].domain,
        notes=tuple(note for one in sets for note in one.notes),
    )
    facts = tuple(facts for scan in scans for facts in scan.facts)
    return replace(scans[0], data=data, facts=facts, faults=tuple(fault for scan in scans for fault in scan.faults))
