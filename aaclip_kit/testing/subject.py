"""The component under test, found as an experiment finds it, and the check of its options that every kind shares."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..contracts.errors import UserErrors
from ..contracts.options import TOWERS, Options, StageOptions
from ..experiment.faults import explain
from ..plugin_host.discovery import discover, with_plugin_files
from ..plugin_host.registry import Component, Kind, Registry

UNKNOWN = "no_such_option"


class Breach(Exception):
    """Raised inside a check: what was found, in words, where the contract is broken."""


class NotApplicable(Exception):
    """Raised inside a check that cannot be made of this component, or on this machine; the text says why."""


@dataclass(frozen=True)
class Subject:
    """A registered component, its table of an experiment file without `use`, and the file it comes from, if any."""

    component: Component
    table: Mapping[str, Any]
    registry: Registry
    plugin_file: Path | None = None

    @property
    def name(self) -> str:
        """The name that it is registered under."""
        return self.component.name

    def options(self, **changes: Any) -> Options:
        """The checked options, some changed. Raises `ValidationError` where they are refused."""
        return self.component.options.model_validate({**self.table, **changes})

    def build(self, *arguments: Any, **changes: Any) -> Any:
        """What the factory makes of the options (some changed) and the other arguments that the kind has."""
        return self.component.build(self.options(**changes), *arguments)

    def make(self, kind: type[Any], *arguments: Any, **changes: Any) -> Any:
        """Build as `build` does. Raises `Breach` where the factory gives something other than a `kind`."""
        made = self.build(*arguments, **changes)
        if not isinstance(made, kind):
            raise Breach(f"the factory gave {type(made).__name__}, which is no {kind.__name__}")
        return made

    @property
    def chosen(self) -> dict[str, Any]:
        """The table of an experiment file that chooses it."""
        return {**self.table, "use": self.name}


def find_subject(kind: Kind, name: str, options: Mapping[str, Any] | None, plugin_file: Path | None) -> Subject:
    """Look a component up among the installed plugins, or in a file that is not installed.

    Raises `UserError` where there is none, where its plugin does not load, or where it refuses the options.
    """
    registry = discover()
    if plugin_file is not None:
        plugin_file = plugin_file.resolve()
        registry = with_plugin_files(registry, [plugin_file], "plugin_file")
    component = registry.get(kind, name)
    table = _placed(component, dict(options or {}))
    try:
        component.options.model_validate(table)
    except ValidationError as error:
        raise UserErrors(explain(error, component.options, "options", "")) from None
    return Subject(component, table, registry, plugin_file)


def _placed(component: Component, table: dict[str, Any]) -> dict[str, Any]:
    """The table with a site, where the options need one and it gives none: the first tower that they allow."""
    model, fields = component.options, component.options.model_fields
    if component.kind != "attention-stage" or not issubclass(model, StageOptions):
        return table
    if "after" not in table and fields["after"].is_required():
        table = {**table, "after": [0]}
    if "tower" not in table and fields["tower"].is_required():
        fitting = (tower for tower in TOWERS if _allowed(model, {**table, "tower": tower}))
        table = {**table, "tower": next(fitting, TOWERS[0])}
    return table


def _allowed(model: type[Options], table: dict[str, Any]) -> bool:
    try:
        model.model_validate(table)
    except ValidationError:
        return False
    return True


def options_explain_themselves(subject: Subject) -> None:
    """Docstring, a description for each field, unknown keys refused; `tower` and `after` for a stage."""
    model = subject.component.options
    if subject.component.kind == "attention-stage" and not issubclass(model, StageOptions):
        raise Breach(f"{model.__name__} is no subclass of StageOptions: it has no `tower` and no `after`")
    if model.__doc__ is None or model.__doc__ == Options.__doc__ or not model.__doc__.strip():
        raise Breach(f"{model.__name__} has no docstring, whose first line `aakit list-plugins` prints")
    if bare := [name for name, field in model.model_fields.items() if not field.description]:
        raise Breach(f"{model.__name__} has no description for {', '.join(bare)}")
    try:
        subject.options(**{UNKNOWN: 1})
    except ValidationError as error:
        if any(fault["type"] == "extra_forbidden" for fault in error.errors()):
            return
    raise Breach(f"{model.__name__} accepts the key '{UNKNOWN}', which it does not have")
