"""Checking a whole experiment at once: the engine's tables and every component's, all faults together."""

import math
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from pydantic import ValidationError

from ..contracts.data import Selection
from ..contracts.deprecation import DEPRECATED, warn_deprecated
from ..contracts.errors import UserError, UserErrors, head_without_text, no_text_tower, stage_without_text
from ..contracts.options import BackboneOptions, Options, StageOptions
from ..contracts.schedule import TRAINS
from ..plugin_host.registry import Component, Kind, Registry
from .faults import explain
from .schema import PUBLISHED_BACKBONE, PUBLISHED_SWITCHES, ExperimentFile, Switches
from .toml_file import unusable_paths

SINGLE: Final[tuple[Kind, ...]] = ("backbone", "prompts", "head", "reference", "scheduler")
"""Kinds of which an experiment has one, in a table of that name; of references perhaps none."""

REFERENCE: Final = "reference"
"""Kind, table and role of the memory of normal images."""

DEFAULT_TABLES: Final = {kind: ExperimentFile.model_fields[kind].default for kind in ("prompts", "head")}
"""What stands in the tables of those of them that the file leaves out, or gives without `use`."""


@dataclass(frozen=True)
class ComponentConfig:
    """A component, the checked options it gets, and, for a loss, its weight, or, for data, which images are used."""

    component: Component
    options: Options
    weight: float = 1.0
    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True)
class Experiment:
    """A checked experiment: nothing in it can be misspelt any more."""

    file: ExperimentFile
    backbone: ComponentConfig
    prompts: ComponentConfig
    head: ComponentConfig
    reference: ComponentConfig | None
    stages: dict[str, ComponentConfig]
    losses: dict[str, dict[str, ComponentConfig]]
    scheduler: ComponentConfig
    data: dict[str, tuple[ComponentConfig, ...]]
    """The data sets of each role, in the order of the file."""
    trackers: tuple[ComponentConfig, ...] = ()
    """Where curves go, in the order of the file; no result depends on them, and no name of theirs is in `plugins`."""

    @property
    def switches(self) -> Switches:
        """The switches in force."""
        return self.file.switches

    @property
    def plugins(self) -> dict[str, str]:
        """Distribution, or file, and version behind each component, by "KIND:NAME"."""
        groups = [group.values() for group in (self.stages, *self.losses.values())] + [*self.data.values()]
        single = [one for kind in SINGLE if (one := getattr(self, kind)) is not None]
        chosen = [*single, *(item for group in groups for item in group)]
        return {f"{item.component.kind}:{item.component.name}": str(item.component.plugin) for item in chosen}


Stages = dict[str, ComponentConfig]


@dataclass
class _Checker:
    registry: Registry
    source: str
    published: bool = False
    faults: list[UserError] = field(default_factory=list)

    def group(self, kind: Kind, tables: Any, prefix: str = "") -> dict[str, ComponentConfig]:
        """Check each table of a group. What is no table at all is a fault that the engine's schema reports."""
        named = tables.items() if isinstance(tables, dict) else ()
        found = ((name, self.component(kind, table, prefix + name)) for name, table in named if isinstance(table, dict))
        return {name: chosen for name, chosen in found if chosen is not None}

    def data_sets(self, roles: Any) -> dict[str, tuple[ComponentConfig, ...]]:
        """Check the table of each role, or all tables of its array, which have their numbers as names."""
        found = {}
        for role, tables in roles.items() if isinstance(roles, dict) else ():
            if role == REFERENCE:
                tables = _with_shots(tables)
            if isinstance(tables, list):
                group = self.group("data-set", dict(zip(map(str, count()), tables, strict=False)), f"data.{role}.")
            else:
                group = self.group("data-set", {role: tables}, "data.")
            found[role] = tuple(group.values())
        return {role: chosen for role, chosen in found.items() if chosen}

    def trackers(self, tables: Any) -> tuple[ComponentConfig, ...]:
        """Check the tables of trackers, of which no two may be alike."""
        listed = dict(zip(map(str, count()), tables, strict=False)) if isinstance(tables, list) else {}
        found = self.group("tracker", listed, "trackers.")
        for name, chosen in found.items():
            if chosen in [found[other] for other in found if int(other) < int(name)]:
                fault = UserError("is there twice", where=f"{self.source}: trackers.{name}", fix="remove one of them")
                self.faults.append(fault)
        return tuple(found.values())

    def check_reference(self, tables: dict[str, Any]) -> None:
        """A memory and the images that fill it come together."""
        data = tables.get("data")
        filled = isinstance(data, dict) and data.get(REFERENCE) is not None
        if filled and tables.get(REFERENCE) is None:
            fix = 'add the table [reference], such as use = "patch_memory", or leave data.reference out'
            self.faults.append(UserError("nothing reads it", where=f"{self.source}: data.reference", fix=fix))
        elif tables.get(REFERENCE) is not None and not filled:
            fix = "name normal images of the test classes in [data.reference]"
            self.faults.append(UserError("has no images to remember", where=f"{self.source}: reference", fix=fix))

    def component(self, kind: Kind, table: dict[str, Any], where: str) -> ComponentConfig | None:
        """Check one component's table; faults are kept, not raised."""
        keys = dict(table)
        name = keys.pop("use", None)
        if not isinstance(name, str):
            fix = f"name the {kind}; known: {', '.join(self.registry.names(kind))}"
            problem = f"needs a text value (given: {name!r})" if "use" in table else "is missing"
            self.faults.append(UserError(problem, where=f"{self.source}: {where}.use", fix=fix))
            return None
        weight = self._weight(keys, where) if kind == "loss" else 1.0
        selection = self._selection(keys, where) if kind == "data-set" else Selection()
        try:
            component = self.registry.get(kind, name, f"{self.source}: {where}.use")
        except UserError as fault:
            self.faults.append(fault)
            return None
        if kind == "backbone" and self.published:
            keys = {**{k: v for k, v in PUBLISHED_BACKBONE.items() if k in component.options.model_fields}, **keys}
        try:
            options = component.options.model_validate(keys)
        except ValidationError as error:
            own = Selection.model_fields if kind == "data-set" else ()
            self.faults.extend(explain(error, component.options, self.source, where, also=tuple(own)))
            return None
        for key, problem in unusable_paths(options):
            self.faults.append(UserError(problem, where=f"{self.source}: {where}.{key}", fix="correct it"))
        return ComponentConfig(component, options, weight, selection)

    def check_text(self, head: ComponentConfig | None, prompts: ComponentConfig | None, stages: Stages) -> None:
        """Refuse what needs text beside a backbone that has none, so far as it says so; building finds out the rest."""
        if head is not None and head.component.stated("needs_text"):
            self.faults.append(head_without_text(f"{self.source}: head"))
        # A resolved copy spells the default out.
        elif prompts is not None and prompts != self.component("prompts", DEFAULT_TABLES["prompts"], "prompts"):
            self.faults.append(no_text_tower("what makes prompts", f"{self.source}: prompts", "leave the table out"))
        for name, chosen in stages.items():
            on_text = isinstance(chosen.options, StageOptions) and chosen.options.tower == "text"
            if on_text or chosen.component.stated("context_kind") == "text":
                self.faults.append(stage_without_text(f"{self.source}: stages.{name}"))

    def _weight(self, keys: dict[str, Any], where: str) -> float:
        weight = keys.pop("weight", 1.0)
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if number and weight >= 0 and math.isfinite(weight):
            return float(weight)
        fix = "give a finite number of at least 0"
        self.faults.append(UserError(f"is no weight: {weight!r}", where=f"{self.source}: {where}.weight", fix=fix))
        return 1.0

    def _selection(self, keys: dict[str, Any], where: str) -> Selection:
        own = {key: keys.pop(key) for key in Selection.model_fields if key in keys}
        try:
            return Selection.model_validate(own)
        except ValidationError as error:
            self.faults.extend(explain(error, Selection, self.source, where))
            return Selection()


def _with_shots(tables: Any) -> Any:
    """The tables of data.reference, where `shots = k` stands for k normal images of each class."""
    if isinstance(tables, list):
        return [_with_shots(table) for table in tables]
    if isinstance(tables, dict) and isinstance(shots := tables.get("shots"), int) and not isinstance(shots, bool):
        return {**tables, "shots": {"normal": shots, "anomalous": 0}}
    return tables


def check_tracker_table(table: dict[str, Any], registry: Registry, source: str) -> ComponentConfig:
    """Check a tracker's table that stands alone, such as that of `aakit track RUN --to NAME`. Raises `UserErrors`."""
    return _checked_alone("tracker", table, registry, source)


def check_data_table(table: dict[str, Any], registry: Registry, source: str) -> ComponentConfig:
    """Check a data set's table that stands alone, such as that of `aakit data check FOLDER`. Raises `UserErrors`."""
    return _checked_alone("data-set", table, registry, source)


def _checked_alone(kind: Kind, table: dict[str, Any], registry: Registry, source: str) -> ComponentConfig:
    checker = _Checker(registry, source)
    chosen = checker.component(kind, table, "data" if kind == "data-set" else kind)
    if checker.faults or chosen is None:
        raise UserErrors(checker.faults)
    return chosen


def check(tables: dict[str, Any], registry: Registry, source: str) -> Experiment:
    """Check `tables` (of file `source`) against the engine's schema and the plugins' options. Raises `UserErrors`."""
    tables = _with_new_names(tables)
    checker = _Checker(registry, source, published=tables.get("profile") == "published")
    file = _engine_tables(tables, checker)
    backbone, prompts, head, reference, scheduler = (
        checker.group(kind, {kind: _single_table(tables, kind)}).get(kind) for kind in SINGLE
    )
    stages = checker.group("attention-stage", tables.get("stages"), "stages.")
    phases = tables.get("losses")
    phases = phases if isinstance(phases, dict) else {}
    losses: dict[str, dict[str, ComponentConfig]] = {
        phase: checker.group("loss", phases.get(phase), f"losses.{phase}.") for phase in TRAINS
    }
    data = checker.data_sets(tables.get("data"))
    trackers = checker.trackers(tables.get("trackers"))
    if backbone is not None and isinstance(backbone.options, BackboneOptions) and not backbone.options.has_text:
        checker.check_text(head, prompts, stages)
    checker.check_reference(tables)
    for name, chosen in stages.items():
        if not isinstance(chosen.options, StageOptions):
            problem = f"plugin {chosen.component.plugin} gives stage options without `tower` and `after`"
            fix = "its options model must subclass aaclip_kit.StageOptions"
            checker.faults.append(UserError(problem, where=f"{source}: stages.{name}", fix=fix))
    if checker.faults or file is None or not (backbone and prompts and head and scheduler):
        raise UserErrors(checker.faults)
    return Experiment(file, backbone, prompts, head, reference, stages, losses, scheduler, data, trackers)


def _single_table(tables: dict[str, Any], kind: Kind) -> Any:
    default = DEFAULT_TABLES.get(kind)
    table = tables.get(kind, default)
    return {**default, **table} if default and isinstance(table, dict) else table


def _with_new_names(tables: dict[str, Any]) -> dict[str, Any]:
    """Return the tables with deprecated keys under their new names, and warn of each that is there."""
    for old, entry in DEPRECATED.items():
        (table, key), new = old.split("."), entry.instead.partition(".")[2]
        keys = tables.get(table)
        if isinstance(keys, dict) and key in keys and new not in keys:
            warn_deprecated(old, category=FutureWarning, level=4)
            tables = {**tables, table: {new if name == key else name: value for name, value in keys.items()}}
    return tables


def _engine_tables(tables: dict[str, Any], checker: _Checker) -> ExperimentFile | None:
    if checker.published and isinstance(tables.get("switches", {}), dict):
        tables = {**tables, "switches": {**PUBLISHED_SWITCHES, **tables.get("switches", {})}}
    try:
        return ExperimentFile.model_validate(tables)
    except ValidationError as error:
        checker.faults.extend(explain(error, ExperimentFile, checker.source, ""))
        return None
