"""A check of the conformance kit: one promise of a contract, as data, and the function that tries it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from textwrap import shorten

from ..contracts.errors import UserError
from ..plugin_host.registry import Kind
from .subject import Found, NotApplicable, Subject

LONGEST = 600
"""Characters of what was found: an exception's own text may go on for pages."""


@dataclass(frozen=True)
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
        except Found as found:
            raise Broken(self, subject.name, str(found)) from found.__cause__
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
