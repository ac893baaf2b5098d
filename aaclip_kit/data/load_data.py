"""The data sets of a run: built by their plugins, read once, and compared, before anything else happens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..contracts.data import DataSet
from ..contracts.errors import UserError, UserErrors
from ..experiment import Experiment
from .checks import shown
from .overlap import compare
from .roles import Role, read_role
from .scan import Fingerprint

ROLES = ("train", "validation", "calibration", "test")


@dataclass(frozen=True)
class Data:
    """The data sets of a run by role (train, test, perhaps validation and calibration), with their fingerprints.

    `records` is what the run's manifest says of each role; `notes` are lines for the user.
    """

    sets: dict[str, DataSet]
    fingerprints: dict[str, Fingerprint]
    records: dict[str, dict[str, Any]]
    notes: tuple[str, ...]

    @property
    def real_names(self) -> dict[str, str]:
        """Real name of every class of every role."""
        return {name: real for data in self.sets.values() for name, real in data.real_names.items()}


def load_data(experiment: Experiment, roles: Sequence[str] = ROLES) -> Data:
    """Build, read, check and compare the data sets of these roles. Raises `UserErrors` with the faults of all."""
    read, between = read_roles(experiment, roles)
    if faults := all_faults(read, between):
        raise faults[0] if len(faults) == 1 else UserErrors(faults)
    found = {role.name: role.found for role in read if role.found}
    fingerprints = {name: scan_dataset.fingerprint() for name, scan_dataset in found.items()}
    records = {role.name: {**fingerprints[role.name].as_record(), **role.record, "notes": role.notes} for role in read}
    notes = tuple(f"{role.where}: {note}" for role in read for note in role.notes)
    return Data({name: scan_dataset.data for name, scan_dataset in found.items()}, fingerprints, records, notes)


def all_faults(read: Sequence[Role], between: Sequence[UserError]) -> list[UserError]:
    """What is to be shown: the first faults of each role with the number of the others, and those between roles.

    One root may be missing for two roles; it is named once.
    """
    faults = [*(fault for role in read for fault in shown(role.faults, role.where)), *between]
    return list({str(fault): fault for fault in faults}.values())


def read_roles(experiment: Experiment, roles: Sequence[str] = ROLES) -> tuple[list[Role], list[UserError]]:
    """Each role with its own faults, in the order of `ROLES`, and the faults that lie between them. Raises nothing."""
    file = experiment.file
    chosen = {name: experiment.data[name] for name in ROLES if name in roles and name in experiment.data}
    read = [read_role(name, table, file.seed) for name, table in chosen.items()]
    return read, compare(read, file.data.allow_overlap)
