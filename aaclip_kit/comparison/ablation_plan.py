"""The runs of an ablation, each checked before any starts."""

import json
import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

from ..contracts.errors import UserError, UserErrors
from ..experiment import Experiment, load
from ..plugin_host.registry import Registry
from .ablation_file import OtherDataTable, StudyFile, read_study, unknown
from .series import training_differences

OWN_DATA: Final = ""
"""The data of the experiment files themselves, among the names of `[data]`."""


@dataclass(frozen=True, eq=False)
class AblationRun:
    """One run of a study. `rescores` is the folder, below OUT, whose checkpoints it scores; None trains."""

    data: str
    variant: str
    seed: int
    file: Path
    overrides: tuple[str, ...]
    experiment: Experiment
    rescores: Path | None = None

    @property
    def place(self) -> Path:
        """Its folder below OUT."""
        return place_of(self.data, self.variant, self.seed)


@dataclass(frozen=True)
class Study:
    """A checked study: its runs, those that train first; `left_out` says which data are not there."""

    file: StudyFile
    baseline: str
    runs: tuple[AblationRun, ...]
    left_out: tuple[str, ...]

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the data that are asked; `OWN_DATA` is the experiment files' own."""
        return tuple(dict.fromkeys(run.data for run in self.runs))


def place_of(data: str, variant: str, seed: int) -> Path:
    """Folder of a run below OUT: VARIANT/seed_N, on other data DATA/VARIANT/seed_N."""
    return Path(data) / variant / f"seed_{seed}"


def load_study(
    path: Path,
    registry: Registry,
    seeds: int | None = None,
    only: tuple[str, ...] = (),
    only_data: tuple[str, ...] = (),
    overrides: tuple[str, ...] = (),
) -> Study:
    """Read an ablation file and check every experiment of it. Raises `UserErrors` with every fault.

    `only` names variants; those whose weights they score again come with them. `only_data` names the tables of
    `[data]` that are asked beside the experiments' own. `overrides` go to every run, last.
    """
    file = read_study(path)
    for name in only:
        if name not in file.variants:
            raise unknown(name, "variant", list(file.variants), "--only")
    for name in only_data:
        if name not in file.data:
            raise unknown(name, "data", list(file.data), "--data")
    wanted = [name for name in file.variants if not only or name in only or name in _sources(file, only)]
    data, left_out = _data_sets(path, {name: file.data[name] for name in only_data or file.data})
    planner = _Planner(path, file, registry, data, overrides)
    first = _load(path.parent / file.base, registry, overrides, f"{path}: base").file.seed
    runs, faults = list[AblationRun](), list[UserError]()
    for name, variant in product(data, wanted):
        try:
            runs += planner.runs(name, variant, range(first, first + (seeds or file.seeds)))
        except UserErrors as errors:
            faults += errors.faults
    if faults:
        raise UserErrors(faults)
    runs.sort(key=lambda run: run.rescores is not None)
    return Study(file, file.baseline or next(iter(file.variants)), tuple(runs), left_out)


@dataclass(frozen=True)
class _Planner:
    """What the runs of every variant have in common; `data` has the overrides of each data set."""

    path: Path
    file: StudyFile
    registry: Registry
    data: dict[str, tuple[str, ...]]
    overrides: tuple[str, ...]

    def runs(self, data: str, variant: str, seeds: range) -> list[AblationRun]:
        """The runs of one variant on one data set. Raises `UserErrors`."""
        where = f"{self.path}: variants.{variant}" + (f", data.{data}" if data else "")
        source = self._source(data, variant)
        file, overrides = self._keys(data, variant)
        if source is not None:
            trained_file, of_trained = self._keys(*source)
            trained = _load(trained_file, self.registry, of_trained, where)
            if changed := training_differences(trained, _load(file, self.registry, overrides, where)):
                problem = f"rescores {'/'.join(filter(None, source))}, but {', '.join(changed[:3])} acts in training"
                raise UserErrors([UserError(problem, where=where, fix="take `rescore` out, so that it trains")])
        found = []
        for seed in seeds:
            own = (*overrides, f"seed={seed}")
            experiment = _load(file, self.registry, own, where)
            rescores = None if source is None else place_of(*source, seed)
            found.append(AblationRun(data, variant, seed, file, own, experiment, rescores))
        return found

    def _keys(self, data: str, variant: str) -> tuple[Path, tuple[str, ...]]:
        """Experiment file and overrides."""
        table = self.file.variants[variant]
        return self.path.parent / (table.file or self.file.base), (*table.set, *self.data[data], *self.overrides)

    def _source(self, data: str, variant: str) -> tuple[str, str] | None:
        """Data and variant whose weights are scored again; None where the variant trains on the data itself."""
        elsewhere = data != OWN_DATA and self.file.data[data].rescore
        trained = self.file.variants[variant].rescore
        if not elsewhere and trained is None:
            return None
        return (OWN_DATA if elsewhere else data, trained or variant)


def _sources(file: StudyFile, only: tuple[str, ...]) -> set[str | None]:
    return {file.variants[name].rescore for name in only}


def _data_sets(path: Path, asked: dict[str, OtherDataTable]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Overrides of each data set that is there, the experiments' own first; and what is left out."""
    found: dict[str, tuple[str, ...]] = {OWN_DATA: ()}
    left_out = []
    for name, table in asked.items():
        root = table.root and path.parent / table.root
        if table.root_variable and (named := os.environ.get(table.root_variable)):
            root = Path(named).expanduser()
        if root is None and any("{root}" in one for one in table.set):
            raise UserError("has no root", where=f"{path}: data.{name}", fix="give `root`, or set its root_variable")
        if root is not None and not root.is_dir():
            problem = f"there is no folder {root}"
            if table.optional:
                left_out.append(f"{name} ({problem})")
                continue
            fix = f"put the data there, set {table.root_variable or 'root_variable'}, or say optional = true"
            raise UserError(problem, where=f"{path}: data.{name}", fix=fix)
        found[name] = tuple(_with_root(one, str(root)) for one in table.set)
    return found, tuple(left_out)


def _with_root(override: str, root: str) -> str:
    """The override with the root in place of "{root}": in quotes where it is the value, since 2024 is a folder too."""
    key, _, value = override.partition("=")
    if value.strip() != "{root}":
        return override.replace("{root}", root)
    return f"{key}={json.dumps(root, ensure_ascii=False)}"


def _load(path: Path, registry: Registry, overrides: tuple[str, ...], where: str) -> Experiment:
    """Load an experiment. Raises `UserErrors` whose faults also name the study's table."""
    try:
        return load(path, registry, overrides)
    except UserError as error:
        raise UserErrors([_placed(fault, where) for fault in error.faults]) from None


def _placed(fault: UserError, where: str) -> UserError:
    placed = UserError(fault.problem, where=f"{where}: {fault.where}" if fault.where else where, fix=fault.fix)
    placed.__cause__ = fault.__cause__
    return placed
