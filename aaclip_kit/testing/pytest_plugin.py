"""`pytest --aakit KIND:NAME`: the conformance kit from the command line. Every pytest session loads it: it is light.

Without files or folders on the command line, the checks of that component are all that runs.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pytest

from ..contracts.errors import UserError
from ..plugin_host.registry import Kind
from .check import Broken, cases_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the three options."""
    group = parser.getgroup("aakit", "conformance of aaclip_kit plugins")
    group.addoption("--aakit", metavar="KIND:NAME", help="check this component, such as attention-stage:my_attention")
    said = "one of its options, such as 'tower = \"vision\"'; can be given again"
    group.addoption("--aakit-options", metavar="TOML", action="append", default=[], help=said)
    group.addoption("--aakit-file", metavar="FILE", help="the plugin file that it is in, where it is not installed")


def pytest_configure(config: pytest.Config) -> None:
    """Collect nothing else, unless the command line names what."""
    if config.getoption("aakit") is None:
        if config.getoption("aakit_options") or config.getoption("aakit_file"):
            raise pytest.UsageError("--aakit-options and --aakit-file need --aakit KIND:NAME")
    elif config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add an item for each check."""
    if wanted := config.getoption("aakit"):
        try:
            checks = Checks.from_parent(session, name=wanted, cases=_cases(config, wanted))
        except UserError as error:
            raise pytest.UsageError(str(error)) from None
        report = config.hook.pytest_make_collect_report(collector=checks)
        config.hook.pytest_collectreport(report=report)
        items.extend(report.result)


def _cases(config: pytest.Config, wanted: str) -> Mapping[str, Callable[[], None]]:
    kind, _, name = wanted.partition(":")
    try:
        options = tomllib.loads("\n".join(config.getoption("aakit_options")))
    except tomllib.TOMLDecodeError as error:
        fix = "write each as a line of an experiment file"
        raise UserError(f"is not TOML: {error}", where="--aakit-options", fix=fix) from None
    return cases_of(cast(Kind, kind), name, options=options, plugin_file=config.getoption("aakit_file"))


class Checks(pytest.Collector):
    """The checks of one component."""

    def __init__(self, *, cases: Mapping[str, Callable[[], None]], **others: Any) -> None:
        super().__init__(**others)
        self.cases = cases

    def collect(self) -> "Iterator[CheckItem]":
        """Make an item of each."""
        for label, run in self.cases.items():
            yield CheckItem.from_parent(self, name=f"{self.name}[{label}]", run=run)


class CheckItem(pytest.Item):
    """One check of one component."""

    def __init__(self, *, run: Callable[[], None], **others: Any) -> None:
        super().__init__(**others)
        self.run = run

    def runtest(self) -> None:
        """Run it."""
        self.run()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The four lines of `Broken`; and the traceback of what the component raised, if it did."""
        broken = excinfo.value
        if isinstance(broken, Broken) and broken.__cause__ is None:
            return str(broken)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, None, str]:
        """Where the item stands in reports: nowhere in a file."""
        return self.path, None, self.name
