"""The data sets of a run: built by their plugins, read once, and compared, before anything else happens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..contracts.data import DataSet
from ..contracts.errors import UserError, UserErrors
from ..experiment import ComponentConfig, Experiment
from .checks import (
    MOST_SHOWN,
    Role,
    compare,
    not_comparable,
    one_sided,
    remarks,
    shown,
    unnamed,
    unshowable,
    untrainable,
)
from .scan import DatasetScan, Fingerprint, scan_dataset
from .splits import draw_shots, shots_record, split

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
    scans = {role.name: role.scan for role in read if role.scan}
    fingerprints = {name: scan.fingerprint() for name, scan in scans.items()}
    records = {role.name: {**fingerprints[role.name].as_record(), **role.record, "notes": role.notes} for role in read}
    notes = tuple(f"{role.where}: {note}" for role in read for note in role.notes)
    return Data({name: scan.data for name, scan in scans.items()}, fingerprints, records, notes)


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


def read_role(name: str, chosen: ComponentConfig, seed: int) -> Role:
    """Build one role's data set, read all of its files, draw its shots. Raises nothing: faults become the role's."""
    role, shots = Role(name, chosen), chosen.selection.shots
    try:
        data: DataSet = chosen.component.build(chosen.options)
        role.faults += unshowable(data, role.where)
        role.scan = scan_dataset(_ignoring(data, chosen.selection.ignore))
        _sort_out(role, role.scan)
        if shots and not role.faults:
            role.scan = draw_shots(role.scan, shots, seed, role.where)
            role.record["shots"] = shots_record(role.scan, shots)
    except UserError as error:
        role.faults += error.faults
    if role.scan:
        role.faults += unnamed(role.scan.data, role.where)
        role.notes += remarks(role.scan)
        if name == "train":
            role.faults += untrainable(role.scan.data, role.where)
            role.notes += one_sided(role.scan.data)
        if name not in ROLES[:-1] and (reason := not_comparable(data, role.scan)):
            role.notes.append(f"not comparable with published figures, because {reason}")
            role.record["not_comparable"] = reason
    return role


def _ignoring(data: DataSet, value: int | None) -> DataSet:
    """The data set with its table's `ignore`, which a sample's own goes before."""
    if value is None:
        return data
    own = (sample if sample.ignore is not None else replace(sample, ignore=value) for sample in data.samples)
    return replace(data, samples=tuple(own))


def _sort_out(role: Role, scan: DatasetScan) -> None:
    """Bad images become faults of the role, or are left out and told of."""
    if role.chosen.selection.on_bad_image == "error":
        role.faults += scan.faults
    elif scan.faults:
        bad = [f"{fault.where} ({fault.problem})" for fault in scan.faults]
        more = f"; and {len(bad) - MOST_SHOWN} more" if len(bad) > MOST_SHOWN else ""
        role.notes.append(f"{len(bad)} bad images are left out: {'; '.join(bad[:MOST_SHOWN])}{more}")
        role.record["skipped"] = [{"file": fault.where, "problem": fault.problem} for fault in scan.faults]
    if not scan.data.samples and not role.faults:
        fix = "point it at a folder that holds images"
        raise UserError("the data set has no images", where=role.where, fix=fix)


@dataclass(frozen=True)
class HeldOut:
    """Images for calibration, perhaps none, and where they are from, in words."""

    source: str
    data: DataSet


def held_out(data: Data, share: float, seed: int) -> tuple[Data, HeldOut]:
    """The data that a run goes on with, and the calibration images.

    They are role `calibration` if there is one, else role `validation`, else a share of the training images, which
    role `train` then lacks and the manifest names.
    """
    for role in ("calibration", "validation"):
        if role in data.sets:
            return data, HeldOut(f"data.{role}", data.sets[role])
    rest, drawn = split(data.sets["train"], data.fingerprints["train"].images, share, seed)
    if not drawn.samples:
        return data, HeldOut(f"no image, since {share:g} of data.train comes to none", drawn)
    record = {**data.records["train"], "held_out": [str(sample.image) for sample in drawn.samples]}
    lessened = replace(data, sets={**data.sets, "train": rest}, records={**data.records, "train": record})
    return lessened, HeldOut(f"{share:g} of data.train, kept out of training", drawn)
