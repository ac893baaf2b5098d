"""Components by kind and name: what plugins registered, what failed, and who owns which name."""

from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any, Final, Literal, get_args

from ..contracts.errors import UserError, unknown
from ..contracts.options import Options

Kind = Literal[
    "backbone", "prompts", "attention-stage", "head", "reference", "loss", "scheduler", "data-set", "tracker"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
CONTRACTS: dict[Kind, str] = {
    "backbone": "backbone:Backbone",
    "prompts": "prompts:Prompts",
    "attention-stage": "stage:AttentionStage",
    "head": "head:Head",
    "reference": "reference:Reference",
    "loss": "loss:Loss",
    "scheduler": "schedule:LoopScheduler",
    "data-set": "data:DataSet",
    "tracker": "tracker:Tracker",
}
"""What a factory of each kind returns; imported when first built, for most of it needs torch."""

OWN_PACKAGE: Final = "aaclip-kit"
"""The distribution of the built-in plugins."""

TRACEBACK: Final = "aakit --debug ... shows the traceback"
MEND: Final = f"mend the plugin; {TRACEBACK}"


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
    """A plugin that could not be used, why, and what it had offered before it failed."""

    plugin: Plugin
    error: BaseException
    offered: tuple[tuple[Kind, str], ...] = ()

    @property
    def reason(self) -> str:
        """The error in one line."""
        return f"{type(self.error).__name__}: {' '.join(str(self.error).split())}"


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

    @property
    def maker(self) -> Any:
        """The factory itself, its module imported."""
        return resolve_name(self.factory) if isinstance(self.factory, str) else self.factory

    def stated(self, attribute: str) -> Any:
        """What a factory states of all that it makes, as an attribute; None where it does not, or does not load."""
        try:
            return getattr(self.maker, attribute, None)
        except Exception:  # told when it is built
            return None

    def build(self, *arguments: Any) -> Any:
        """Call the factory. An exception that is no `UserError`, or a thing of another kind, is the plugin's fault."""
        try:
            built = self.maker(*arguments)
        except UserError:
            raise
        except Exception as error:
            raise self._raised(error) from error
        if isinstance(built, resolve_name(f"aaclip_kit.contracts.{CONTRACTS[self.kind]}")):
            return built
        contract = CONTRACTS[self.kind].partition(":")[2]
        problem = f"the factory of {self.kind} '{self.name}' gave {type(built).__name__}, which is no {contract}"
        raise UserError(problem, where=str(self.plugin), fix=f"it must return an aaclip_kit.{contract}")

    def _raised(self, error: Exception) -> UserError:
        """Tell of what the system refused to a factory of the toolkit's own; else the plugin is at fault."""
        if isinstance(error, OSError) and self.plugin.package == OWN_PACKAGE:
            problem = f"{self.kind} '{self.name}' cannot use it ({error.strerror or error})"
            where = self.name if error.filename is None else str(error.filename)
            return UserError(problem, where=where, fix="make it readable and, for a folder to write, writable")
        problem = f"the factory of {self.kind} '{self.name}' raised {type(error).__name__}: {error}"
        return UserError(problem, where=str(self.plugin), fix=MEND)


@dataclass
class Registry:
    """Everything that plugins offer."""

    components: dict[tuple[Kind, str], Component] = field(default_factory=dict)
    clashes: dict[tuple[Kind, str], list[Plugin]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    slow: dict[Plugin, float] = field(default_factory=dict)
    """Plugins that took long to load, with the seconds."""

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
        """The component, or a `UserError` that names the two owners, the plugins that failed, or the nearest name.

        What those plugins raised is the error's cause, so that its traceback can be shown.
        """
        if (kind, name) in self.components:
            return self.components[kind, name]
        if (kind, name) in self.clashes:
            owners = " and ".join(str(plugin) for plugin in self.clashes[kind, name])
            problem = f"{kind} '{name}' is registered twice, by {owners}"
            raise UserError(problem, where=where, fix="uninstall one of them")
        for failure in self.failures:
            if (kind, name) in failure.offered:
                problem = f"{kind} '{name}' cannot be used: {failure.plugin} failed to load: {failure.reason}"
                raise UserError(problem, where=where, fix=f"mend or uninstall it; {TRACEBACK}") from failure.error
        fault = unknown(name, kind, self.names(kind), where)
        if not self.failures:
            raise fault
        broken = "; ".join(f"{failure.plugin.name}: {failure.reason}" for failure in self.failures)
        fix = f"{fault.fix} (plugins that failed to load: {broken}; {TRACEBACK})"
        causes = BaseExceptionGroup("plugins that failed to load", [failure.error for failure in self.failures])
        raise UserError(fault.problem, where=where, fix=fix) from causes

    def copy(self) -> "Registry":
        """One that can be added to without changing this one."""
        clashes = {key: list(owners) for key, owners in self.clashes.items()}
        return Registry(dict(self.components), clashes, list(self.failures), dict(self.slow))

    def names(self, kind: Kind) -> list[str]:
        """Usable names of one kind, sorted."""
        return sorted(name for own, name in self.components if own == kind)
