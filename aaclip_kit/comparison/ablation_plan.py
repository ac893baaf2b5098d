"""The ablation file - a base experiment, variants of it, and data to ask them on - and its runs, each checked."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationError

from ..contracts.errors import UserError, UserErrors, unknown
from ..contracts.options import Options
from ..contracts.schedule import TRAINS
from ..experiment import Experiment, load
from ..experiment.faults import explain
from ..experiment.toml_file import expanded, read_toml
from ..plugin_host.registry import Registry
from ..training.loop_plans import build_scheduler, plan_ahead
from .series import training_differences

OWN_DATA: Final = ""
"""The data of the experiment files themselves, among the names of `[data]`."""


def _plain_names(tables: dict[str, Any]) -> dict[str, Any]:
    for name in tables:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"the name '{name}' may hold letters, digits, '_' and '-' only: it names a folder")
    return tables


Overrides = Annotated[tuple[str, ...], Field(strict=False)]
RelativePath = Annotated[Path, Field(strict=False), AfterValidator(expanded)]


class VariantTable(Options):
    """One variant: what it changes of the base."""

    file: RelativePath | None = Field(None, description="experiment file, from this file's folder; default the base")
    set: Overrides = Field((), description='keys that it changes: ["stages.text_to_image.scale=1.0"]')
    rescore: str | None = Field(
        None, description="variant whose trained weights it scores again, where it changes nothing that training sees"
    )


class OtherDataTable(Options):
    """Other data on which every variant is asked again."""

    set: Overrides = Field(description='keys that name the data; {root} stands for the root: ["data.test.root={root}"]')
    root: RelativePath | None = Field(None, description="folder of the data, from this file's folder")
    root_variable: str | None = Field(None, description="environment variable that names the root instead, where set")
    optional: bool = Field(False, description="left out, and said so, where the root is no folder")
    rescore: bool = Field(False, description="scores the weights trained on the experiment's own data; trains nothing")


class StudyFile(Options):
    """An ablation: the same seeds, and so the same batches, for each variant."""

    base: RelativePath = Field(description="experiment file, from this file's folder")
    seeds: int = Field(5, ge=1, le=1000, description="runs of each variant: the file's seed and those after it")
    set: Overrides = Field((), description="keys that it changes in every run, before those of variant and data")
    baseline: str | None = Field(None, description="variant that the others are compared with; default the first")
    variants: Annotated[dict[str, VariantTable], AfterValidator(_plain_names)] = Field(
        min_length=1, description="tables [variants.NAME]; an empty one is the base itself"
    )
    data: Annotated[dict[str, OtherDataTable], AfterValidator(_plain_names)] = Field(
        default_factory=dict, description="tables [data.NAME] of other data"
    )


def read_study(path: Path) -> StudyFile:
    """Read an ablation file. Raises `UserErrors` with every fault of its own tables."""
    tables = read_toml(path)
    if "backbone" in tables and "variants" not in tables:
        fix = "run it with `aakit run`; docs/guide/comparing.md shows an ablation file"
        raise UserError("is an experiment file, not an ablation file", where=str(path), fix=fix)
    try:
        file = StudyFile.model_validate(tables)
    except ValidationError as error:
        raise UserErrors(explain(error, StudyFile, str(path), "")) from None
    if faults := list(_faults(file, str(path))):
        raise UserErrors(faults)
    return file


def _faults(file: StudyFile, path: str) -> Iterator[UserError]:
    known = list(file.variants)
    if file.baseline is not None and file.baseline not in known:
        yield unknown(file.baseline, "variant", known, f"{path}: baseline")
    for name, table in file.variants.items():
        where = f"{path}: variants.{name}"
        if any(one.partition("=")[0].strip() == "seed" for one in table.set):
            fix = "take it out; the seeds are the base's and those after it"
            yield UserError("sets the seed, which is the same for every variant", where=f"{where}.set", fix=fix)
        if table.rescore is None:
            continue
        if table.rescore not in known:
            yield unknown(table.rescore, "variant", known, f"{where}.rescore")
        elif (trains := file.variants[table.rescore].rescore) is not None:
            problem = f"'{table.rescore}' trains nothing itself"
            yield UserError(problem, where=f"{where}.rescore", fix=f"name the variant that trains: '{trains}'")
    for name in file.data:
        if name in known:
            yield UserError("is the name of a variant and of data", where=f"{path}: data.{name}", fix="rename one")


@dataclass(frozen=True, eq=False)
class AblationRun:
    """One run of a study. `rescores` is the folder, below OUT, whose checkpoints it scores; None trains."""

    data: str
    variant: str
    seed: int
    _: KW_ONLY
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

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the variants unequal beside what each is to show: the epochs that they train for."""
        like: dict[str, list[str]] = {}
        for variant, run in {run.variant: run for run in self.runs if run.rescores is None}.items():
            like.setdefault(_epochs(run.experiment), []).append(variant)
        listed = "; ".join(f"{epochs}: {', '.join(variants)}" for epochs, variants in like.items())
        return (f"the variants train for different numbers of epochs ({listed})",) if len(like) > 1 else ()


def _epochs(experiment: Experiment) -> str:
    """Epochs of each tower, and of both together, over all loops, as far as they are planned beforehand."""
    phases = [phase for plan in plan_ahead(build_scheduler(experiment)) for phase in plan.phases]
    epochs = {trains: sum(one.epochs for one in phases if one.train == trains) for trains in TRAINS}
    return ", ".join(f"{trains} {number}" for trains, number in epochs.items() if number) or "none"


def place_of(data: str, variant: str, seed: int) -> Path:
    """Return a run's folder below OUT: VARIANT/seed_N, on other data DATA/VARIANT/seed_N."""
    return Path(data) / variant / f"seed_{seed}"


def load_study(
    path: Path,
    registry: Registry,
    *,
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
    sources = {file.variants[name].rescore for name in only}
    wanted = [name for name in file.variants if not only or name in {*only, *sources}]
    data, left_out = _data_sets(path, {name: file.data[name] for name in only_data or file.data})
    planner = _Planner(path=path, file=file, registry=registry, data=data, overrides=overrides)
    first = _load(path.parent / file.base, registry, (*file.set, *overrides), f"{path}: base").file.seed
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


@dataclass(frozen=True, kw_only=True)
class _Planner:
    """What the runs of every variant have in common; `data` has the overrides of each data set."""

    path: Path
    file: StudyFile
    registry: Registry
    data: dict[str, tuple[str, ...]]
    overrides: tuple[str, ...]

    def runs(self, data: str, variant: str, seeds: range) -> Iterator[AblationRun]:
        """Plan the runs of one variant on one data set. Raises `UserErrors`."""
        where = f"{self.path}: variants.{variant}" + (f", data.{data}" if data else "")
        source = self._source(data, variant)
        file, overrides = self._keys(data, variant)
        if source is not None:
            trained_file, of_trained = self._keys(*source)
            trained = _load(trained_file, self.registry, of_trained, where)
            if changed := training_differences(trained, _load(file, self.registry, overrides, where)):
                problem = f"rescores {'/'.join(filter(None, source))}, but {', '.join(changed[:3])} acts in training"
                raise UserErrors([UserError(problem, where=where, fix="take `rescore` out, so that it trains")])
        for seed in seeds:
            own = (*overrides, f"seed={seed}")
            experiment = _load(file, self.registry, own, where)
            place = None if source is None else place_of(*source, seed)
            yield AblationRun(data, variant, seed, file=file, overrides=own, experiment=experiment, rescores=place)

    def _keys(self, data: str, variant: str) -> tuple[Path, tuple[str, ...]]:
        """Experiment file and overrides."""
        table = self.file.variants[variant]
        overrides = (*self.file.set, *table.set, *self.data[data], *self.overrides)
        return self.path.parent / (table.file or self.file.base), overrides

    def _source(self, data: str, variant: str) -> tuple[str, str] | None:
        """Data and variant whose weights are scored again; None where the variant trains on the data itself."""
        elsewhere = data != OWN_DATA and self.file.data[data].rescore
        trained = self.file.variants[variant].rescore
        if not elsewhere and trained is None:
            return None
        return (OWN_DATA if elsewhere else data, trained or variant)


def _data_sets(path: Path, asked: dict[str, OtherDataTable]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Overrides of each data set that is there, the experiments' own first; and what is left out."""
    of_data: dict[str, tuple[str, ...]] = {OWN_DATA: ()}
    left_out = []
    for name, table in asked.items():
        root = table.root and path.parent / table.root
        if table.root_variable and (named := os.environ.get(table.root_variable)):
            root = Path(os.path.expanduser(named))  # noqa: PTH111 - the home of nobody stays as it is written
        if root is None and any("{root}" in one for one in table.set):
            raise UserError("has no root", where=f"{path}: data.{name}", fix="give `root`, or set its root_variable")
        if root is not None and not root.is_dir():
            problem = f"there is no folder {root}"
            if table.optional:
                left_out.append(f"{name} ({problem})")
                continue
            fix = f"put the data there, set {table.root_variable or 'root_variable'}, or say optional = true"
            raise UserError(problem, where=f"{path}: data.{name}", fix=fix)
        of_data[name] = tuple(_with_root(one, str(root)) for one in table.set)
    return of_data, tuple(left_out)


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
        raise UserErrors([placed(fault, where) for fault in error.faults]) from None


def placed(fault: UserError, where: str) -> UserError:
    """Name a table of the study, or a run, before the place of a fault."""
    moved = UserError(fault.problem, where=f"{where}: {fault.where}" if fault.where else where, fix=fault.fix)
    moved.__cause__ = fault.__cause__
    return moved
