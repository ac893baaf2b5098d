"""The decorator that turns a contract into the cases of one test function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contracts.errors import UserError
from ..plugin_host.registry import Kind
from .check import Check
from .contract import checks_of
from .subject import NotApplicable, Subject, find_subject

if TYPE_CHECKING:
    import pytest


def conformance(
    kind: Kind, name: str, *, options: Mapping[str, Any] | None = None, plugin_file: str | Path | None = None
) -> pytest.MarkDecorator:
    """Parametrise a test with `check`, one case for each promise of the contract; the test calls `check()`.

    `options` is the component's table of an experiment file without `use`; `plugin_file` is a plugin file, for what is
    not installed. A case skips where the promise does not apply, and fails with `Broken` where it is not kept. Raises
    `UserError` where there is no such component, where it refuses the options, or without pytest.
    """
    try:
        import pytest
    except ImportError:
        fix = "pip install pytest"
        raise UserError("the conformance kit runs in pytest, which is not installed", fix=fix) from None
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
