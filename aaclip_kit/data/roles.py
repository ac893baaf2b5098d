"""One role's data set: built by its plugin, read once, checked, and cut down to its shots."""

from dataclasses import dataclass, field
from typing import Any

from ..contracts.data import DataSet
from ..contracts.errors import UserError
from ..experiment import ComponentConfig
from .checks import MOST_SHOWN, remarks, unnamed, unshowable, untrainable
from .scan import DatasetScan, scan_dataset
from .shots import draw_shots, shots_record


@dataclass
class Role:
    """What reading one role's data set came to; `found` is None where it could not be built at all."""

    name: str
    chosen: ComponentConfig
    found: DatasetScan | None = None
    faults: list[UserError] = field(default_factory=list)
    """What a run stops at."""
    notes: list[str] = field(default_factory=list)
    """Lines for the user."""
    record: dict[str, Any] = field(default_factory=dict)
    """What the run's manifest says beside the fingerprint."""

    @property
    def where(self) -> str:
        """The role's table in the experiment file."""
        return f"data.{self.name}"


def read_role(name: str, chosen: ComponentConfig, seed: int) -> Role:
    """Build one role's data set, read all of its files, draw its shots. Raises nothing: faults are kept."""
    role, shots = Role(name, chosen), chosen.selection.shots
    try:
        data: DataSet = chosen.component.build(chosen.options)
        role.faults += unshowable(data, role.where)
        role.found = scan_dataset(data)
        _sort_out(role, role.found)
        if shots and not role.faults:
            role.found = draw_shots(role.found, shots, seed, role.where)
            role.record["shots"] = shots_record(role.found, shots)
    except UserError as error:
        role.faults += error.faults
    if role.found:
        role.faults += unnamed(role.found.data, role.where)
        role.faults += untrainable(role.found.data, role.where) if name == "train" else []
        role.notes += remarks(role.found)
    return role


def _sort_out(role: Role, found: DatasetScan) -> None:
    """Bad images become faults of the role, or are left out and told of."""
    if role.chosen.selection.on_bad_image == "error":
        role.faults += found.faults
    elif found.faults:
        bad = [f"{fault.where} ({fault.problem})" for fault in found.faults]
        more = f"; and {len(bad) - MOST_SHOWN} more" if len(bad) > MOST_SHOWN else ""
        role.notes.append(f"{len(bad)} bad images are left out: {'; '.join(bad[:MOST_SHOWN])}{more}")
        role.record["skipped"] = [{"file": fault.where, "problem": fault.problem} for fault in found.faults]
    if not found.data.samples and not role.faults:
        fix = "point it at a folder that holds images"
        raise UserError("the data set has no images", where=role.where, fix=fix)
