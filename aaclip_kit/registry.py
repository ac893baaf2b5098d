"""Components by kind and name: what plugins registered, what failed, and who owns which name."""

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, get_args

from .contracts.errors import UserError, nearest_hint
from .contracts.options import Options

Kind = Literal["backbone", "attention-stage", "loss", "scheduler", "data-set"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Plugin:
    """Where components come from: entry-point name, module, distribution and its version."""

    name: str
    module: str
    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} ({self.module})"


@dataclass(frozen=True)
class Failure:
    """A plugin, or a hook of it, that could not be used, and why."""

    plugin: Plugin
    reason: str


@dataclass(frozen=True)
class Component:
    """One registered component. `factory` is a callable or "module:attribute", resolved when first used."""

    kind: Kind
    name: str
    factory: Any
    options: type[Options]
    plugin: Plugin

    @property
    def description(self) -> str:
        """First line of the options model's docstring."""
        return (self.options.__doc__ or "").strip().partition("\n")[0]

    def build(self, *arguments: Any) -> Any:
        """Call the factory. An exception that is no `UserError` is reported as the plugin's own."""
        try:
            return self._resolved()(*arguments)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"the factory of {self.kind} '{self.name}' raised {type(error).__name__}: {error}",
                where=str(self.plugin),
                fix="see the plugin's own traceback with --debug before the command: aakit --debug ...",
            ) from error

    def _resolved(self) -> Any:
        if not isinstance(self.factory, str):
            return self.factory
        module, _, attribute = self.factory.partition(":")
        return getattr(import_module(module), attribute)


@dataclass
class Registry:
    """Everything that plugins offer."""

    components: dict[tuple[Kind, str], Component] = field(default_factory=dict)
    clashes: dict[tuple[Kind, str], list[Plugin]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def add(self, component: Component) -> None:
        """Register; two owners of one name make the name unusable, for neither may win silently."""
        key = (component.kind, component.name)
        if key in self.clashes:
            self.clashes[key].append(component.plugin)
        elif key in self.components:
            self.clashes[key] = [self.components.pop(key).plugin, component.plugin]
        else:
            self.components[key] = component

    def get(self, kind: Kind, name: str, where: str | None = None) -> Component:
        """The component, or a `UserError` that names the two owners, the failed plugins, or the nearest name."""
        if (kind, name) in self.components:
            return self.components[kind, name]
        if (kind, name) in self.clashes:
            owners = " and ".join(str(plugin) for plugin in self.clashes[kind, name])
            raise UserError(
                f"{kind} '{name}' is registered twice, by {owners}", where=where, fix="uninstall one of them"
            )
        known = self.names(kind)
        broken = "; ".join(f"{failure.plugin.name}: {failure.reason}" for failure in self.failures)
        fix = f"{nearest_hint(name, known)}known: {', '.join(known) or 'none'}" + (
            f" (plugins that failed to load: {broken})" if broken else ""
        )
        raise UserError(f"there is no {kind} called '{name}'", where=where, fix=fix)

    def names(self, kind: Kind) -> list[str]:
        """Usable names of one kind, sorted."""
        return sorted(name for found, name in self.components if found == kind)
