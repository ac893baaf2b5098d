"""The data sets of a run: built by their plugins, read once, and compared, before anything else happens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..contracts.data import DataSet
from ..contracts.errors import UserError, UserErrors, in_short
from ..experiment import ComponentConfig, Experiment
from ..experiment.check import REFERENCE
from .checks import (
    MOST_SHOWN,
    class_counts,
    not_comparable,
    remarks,
    shown,
    training_limits,
    unnamed,
    unshowable,
    untrainable,
)
from .join import join, labels, unjoinable
from .roles import Role, RoleTable, compare
from .scan import DatasetScan, Fingerprint, scan_dataset
from .splits import KINDS, draw_shots, shots_record, split

ROLES = ("train", "validation", "calibration", "reference", "test")


@dataclass(frozen=True)
class Data:
    """The data sets of a run by role, with their fingerprints: train, test, perhaps others.

    A role of several has them joined in `sets`, and each by its label in `parts`, before anything was held out.
    `records` is what the run's manifest says of each role; `notes` are lines for the user; `sizes` are those of the
    image files, (width, height).
    """

    sets: dict[str, DataSet]
    fingerprints: dict[str, Fingerprint]
    records: dict[str, dict[str, Any]]
    notes: tuple[str, ...]
    parts: dict[str, dict[str, DataSet]]
    sizes: Mapping[Path, tuple[int, int]]

    @property
    def real_names(self) -> dict[str, str]:
        """Real name of every class of every role."""
        return {name: real for data in self.sets.values() for name, real in data.real_names.items()}

    def names(self, role: str) -> tuple[str, ...]:
        """Names of the published data sets of a role."""
        return tuple(dict.fromkeys(data.name for data in self.parts[role].values() if data.name))

    def classes(self, role: str) -> Mapping[str, tuple[str, ...]]:
        """Classes of each data set of a role, by its label."""
        return {label: data.classes for label, data in self.parts[role].items()}


def load_data(experiment: Experiment, roles: Sequence[str] = ROLES) -> Data:
    """Build, read, check and compare the data sets of these roles. Raises `UserErrors` with the faults of all."""
    read, between = read_roles(experiment, roles)
    if faults := all_faults(read, between):
        raise faults[0] if len(faults) == 1 else UserErrors(faults)
    scans = {role.name: role.scan for role in read if role.scan}
    parts = {role.name: {table.label: table.scan.data for table in role.tables if table.scan} for role in read}
    fingerprints = {name: scan.fingerprint() for name, scan in scans.items()}
    records = {role.name: {**fingerprints[role.name].as_record(), **role.record, "notes": role.notes} for role in read}
    notes = tuple(f"{role.where}: {note}" for role in read for note in role.notes)
    sizes = {sample.image: facts.size for scan in scans.values() for sample, facts in scan.pairs}
    return Data({name: scan.data for name, scan in scans.items()}, fingerprints, records, notes, parts, sizes)


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
    by_masks = _by_masks(experiment)
    read = [read_role(name, tables, file.seed, by_masks=by_masks) for name, tables in chosen.items()]
    return read, [*compare(read, file.data.allow_overlap), *_unremembered(read)]


def _by_masks(experiment: Experiment) -> bool:
    """Whether a loss reads masks, or does not say whether it does."""
    losses = [loss for group in experiment.losses.values() for loss in group.values()]
    return not losses or any("masks" in (loss.component.stated("needs") or ("masks",)) for loss in losses)


def _unremembered(read: Sequence[Role]) -> list[UserError]:
    """A fault where test images are of a class without references."""
    scans = {role.name: role.scan for role in read if role.scan}
    if REFERENCE not in scans or "test" not in scans:
        return []
    known = scans[REFERENCE].data.classes
    if not (lacking := [name for name in scans["test"].data.classes if name not in known]):
        return []
    problem = f"holds no image of test class {in_short(lacking)}; it has {in_short(known)}"
    fix = "give normal images of each test class, or leave classes out of data.test"
    return [UserError(problem, where="data.reference", fix=fix)]


def read_role(name: str, chosen: Sequence[ComponentConfig], seed: int, *, by_masks: bool = True) -> Role:
    """Read a role's data sets, each by itself, and join them. Raises nothing: faults become the role's.

    `by_masks`: training, where the role serves it, reads masks.
    """
    role = Role(name=name, tables=_tables(name, chosen))
    for table in role.tables:
        _read_table(table, seed, is_quoted=name not in ROLES[:-1], is_normal=name == REFERENCE)
        role.faults += table.faults
        role.notes += _named(role, table, table.notes)
    role.faults += unjoinable(role.tables)
    role.scan = join([table.scan for table in role.tables if table.scan])
    if role.scan:
        role.notes += remarks(role.scan, is_normal=name == REFERENCE)
        if name == "train" and all(table.scan for table in role.tables):
            role.faults += untrainable(role.scan.data, role.where, by_masks=by_masks)
            role.notes += training_limits(role.scan.data, by_masks=by_masks)
    for table in role.tables:
        if reason := table.record.get("not_comparable"):
            role.notes += _named(role, table, [f"not comparable with published figures, because {reason}"])
    records = {table.label: _record(table) for table in role.tables}
    role.record = {"sets": records} if len(records) > 1 else role.tables[0].record
    return role


def _tables(name: str, chosen: Sequence[ComponentConfig]) -> tuple[RoleTable, ...]:
    places = [f"data.{name}.{number}" for number in range(len(chosen))] if len(chosen) > 1 else [f"data.{name}"]
    named = zip(places, labels(chosen), chosen, strict=True)
    return tuple(RoleTable(where=where, label=label, chosen=one) for where, label, one in named)


def _named(role: Role, table: RoleTable, notes: Sequence[str]) -> list[str]:
    """The notes on one data set, which say its label where it is one of several."""
    return [f"{table.label}: {note}" for note in notes] if len(role.tables) > 1 else list(notes)


def _record(table: RoleTable) -> dict[str, Any]:
    """What the manifest says of one data set of several."""
    component = table.chosen.component.name
    if table.scan is None:
        return {"use": component}
    return {"use": component, "name": table.scan.data.name, **table.scan.fingerprint().as_record(), **table.record}


def _read_table(table: RoleTable, seed: int, *, is_quoted: bool, is_normal: bool) -> None:
    """Build one data set, read all of its files, draw its shots.

    `is_quoted`: results on it may be quoted; `is_normal`: its anomalous images are not for use.
    """
    chosen, shots = table.chosen, table.chosen.selection.shots
    try:
        data: DataSet = chosen.component.build(chosen.options)
        table.faults += unshowable(data, table.where)
        table.scan = scan_dataset(_ignoring(data, chosen.selection.ignore))
        _sort_out(table, table.scan)
        if is_normal and not table.faults:
            table.scan = _normal_alone(table, table.scan)
        if shots and not table.faults:
            table.scan = draw_shots(table.scan, shots, seed, table.where)
            table.record["shots"] = shots_record(table.scan, shots)
    except UserError as error:
        table.faults += error.faults
    if table.scan:
        table.faults += unnamed(table.scan.data, table.where)
        if is_quoted and (reason := not_comparable(data, table.scan)):
            table.record["not_comparable"] = reason


def _ignoring(data: DataSet, value: int | None) -> DataSet:
    """The data set with its table's `ignore`, which a sample's own goes before."""
    if value is None:
        return data
    own = (sample if sample.ignore is not None else replace(sample, ignore=value) for sample in data.samples)
    return replace(data, samples=tuple(own))


def _sort_out(table: RoleTable, scan: DatasetScan) -> None:
    """Bad images become faults of the data set, or are left out and told of."""
    if table.chosen.selection.on_bad_image == "error":
        table.faults += scan.faults
    elif scan.faults:
        bad = [f"{fault.where} ({fault.problem})" for fault in scan.faults]
        table.notes.append(f"{len(bad)} bad images are left out: {in_short(bad, MOST_SHOWN, '; ')}")
        table.record["skipped"] = [{"file": fault.where, "problem": fault.problem} for fault in scan.faults]
    if not scan.data.samples and not table.faults:
        fix = "point it at a folder that holds images"
        raise UserError("the data set has no images", where=table.where, fix=fix)


def _normal_alone(table: RoleTable, scan: DatasetScan) -> DatasetScan:
    """The normal images, and of pictures that are there twice one: a copy would find itself in the memory."""
    normal = scan.only(pair for pair in scan.pairs if not pair[0].label)
    once = normal.without_copies()
    left_out = {"anomalous images": len(scan.facts) - len(normal.facts)}
    left_out["copies of other images"] = len(normal.facts) - len(once.facts)
    table.notes += [f"{count} {kind} are left out of the references" for kind, count in left_out.items() if count]
    for name in scan.data.classes:
        if all(sample.class_name != name for sample in once.data.samples):
            fix = "give normal images of it, or leave the class out with `classes`"
            table.faults.append(UserError(f"class '{name}' has no normal image", where=table.where, fix=fix))
    return once


@dataclass(frozen=True)
class HeldOut:
    """Images for calibration, perhaps none, and where they are from, in words."""

    source: str
    data: DataSet

    def __str__(self) -> str:
        """How many images, and where they are from."""
        return f"{len(self.data.samples)} images of {self.source}" if self.data.samples else self.source


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
    counts = {name: dict(zip(KINDS, counted, strict=True)) for name, counted in class_counts(drawn.samples).items()}
    files = [str(sample.image) for sample in drawn.samples]
    record = {**data.records["train"], "held_out": files, "held_out_counts": counts}
    lessened = replace(data, sets={**data.sets, "train": rest}, records={**data.records, "train": record})
    return lessened, HeldOut("data.train, kept out of training", drawn)
