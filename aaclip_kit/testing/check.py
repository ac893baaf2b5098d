"""The checks of the conformance kit: a promise of a contract and the function that tries it; and a test's cases."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from ..contracts.errors import UserError, nearest_hint
from ..plugin_host.registry import KINDS, Kind
from .promises import PROMISES
from .subject import Breach, NotApplicable, Subject, find_subject

if TYPE_CHECKING:
    import pytest

LONGEST = 600
"""Characters of what was found: an exception's own text may go on for pages."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One promise. `id` is unique within its kind; `function` is the text "module:attribute", imported when first run.

    `promise` is the contract's own line, which stands on the page of the kind; `mend` says how such a fault is mended.
    """

    kind: Kind
    id: str
    name: str
    promise: str
    mend: str
    function: str

    @property
    def page(self) -> str:
        """The page of the contract, a path in the toolkit's repository."""
        return f"docs/plugins/kinds/{self.kind}.md"

    @property
    def label(self) -> str:
        """What a test is called: id and name."""
        return f"{self.id}-{self.name}"

    def run(self, subject: Subject) -> None:
        """Try the promise. Raises `Broken`, also for whatever the component itself raises, or `NotApplicable`."""
        __tracebackhide__ = True  # pytest then shows the component's own lines and the test's
        module, _, attribute = self.function.partition(":")
        function = getattr(import_module(module), attribute)
        try:
            function(subject)
        except NotApplicable:
            raise
        except Breach as breach:
            raise Broken(self, subject.name, str(breach)) from breach.__cause__
        except UserError as refusal:
            # The engine has put an exception of the component into words already; a refusal of its own it has not.
            said = "" if refusal.__cause__ else "it was refused: "
            raise Broken(self, subject.name, said + refusal.problem) from refusal
        except Exception as error:
            raise Broken(self, subject.name, f"{type(error).__name__} was raised: {error}") from error


class Broken(AssertionError):
    """A component breaks its contract: what was found, the line that it breaks, where that stands, how to mend it."""

    def __init__(self, check: Check, component: str, found: str) -> None:
        found = shorten(found, LONGEST)
        self.check, self.component, self.found = check, component, found
        super().__init__(
            f"{check.kind} '{component}' breaks its contract: {check.id} {check.name.replace('-', ' ')}\n"
            f"  found: {found}\n"
            f"  contract: {check.promise} ({check.page}, {check.id})\n"
            f"  mend: {check.mend}"
        )


def checks_of(kind: Kind) -> tuple[Check, ...]:
    """Return the contract of a kind, promise by promise. Raises `UserError` for a kind that there is not."""
    if kind not in KINDS:
        raise UserError(f"there is no kind '{kind}'", fix=f"{nearest_hint(kind, KINDS)}kinds: {', '.join(KINDS)}")
    checks = []
    for module, promises in PROMISES[kind].items():
        for label, (promise, mend) in promises.items():
            id, _, name = label.partition("-")
            function = f"{__package__}.{module}:{name.replace('-', '_')}"
            checks.append(Check(kind=kind, id=id, name=name, promise=promise, mend=mend, function=function))
    return tuple(sorted(checks, key=lambda check: int(check.id[1:])))


def conformance(
    kind: Kind, name: str, *, options: Mapping[str, Any] | None = None, plugin_file: str | Path | None = None
) -> "pytest.MarkDecorator":
    """Parametrise a test with `check`, one case for each promise of the contract; the test calls `check()`.

    `options` is the component's table of an experiment file without `use`; `plugin_file` is a plugin file, for what is
    not installed. A case skips where the promise does not apply, and fails with `Broken` where it is not kept. Raises
    `UserError` where there is no such component, where it refuses the options, or without pytest.
    """
    try:
        import pytest
    except ImportError:
        problem = "the conformance kit runs in pytest, which is not installed"
        raise UserError(problem, fix="pip install pytest") from None
    cases = cases_of(kind, name, options=options, plugin_file=plugin_file)
    return pytest.mark.parametrize("check", [pytest.param(run, id=label) for label, run in cases.items()])


def cases_of(
    kind: Kind, name: str, *, options: Mapping[str, Any] | None = None, plugin_file: str | Path | None = None
) -> dict[str, Callable[[], None]]:
    """Each check of a component by its label, to be called without arguments. Raises `UserError` as `conformance`."""
    checks = checks_of(kind)
    subject = find_subject(kind, name, options, None if plugin_file is None else Path(plugin_file))
    return {check.label: _case(check, subject) for check in checks}


def _case(check: Check, subject: Subject) -> Callable[[], None]:
    import pytest

    def run() -> None:
        __tracebackhide__ = True
        try:
            check.run(subject)
        except NotApplicable as reason:
            pytest.skip(str(reason))

    return run
