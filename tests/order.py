"""The order of the tests, and how several processes share them: the longest first, so that none is waited for alone."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

KEPT = "aakit/seconds"
"""The key in pytest's own cache under which the seconds of long tests go from one session to the next, by test."""

LONG = 1.0
"""Seconds from which on a test's place in the order matters."""

TOGETHER = "tests/parity/"
"""Tests that share a model and a count, and so a process."""


class OneTestAtATime(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives a process that has time the next test; those of parity go to one."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER if nodeid.startswith(TOGETHER) else nodeid


class LongestFirst:
    """Sorts files by their longest test, as it was in earlier sessions; the tests of a file share what it makes."""

    def __init__(self, config: pytest.Config) -> None:
        cache = getattr(config, "cache", None)  # absent with -p no:cacheprovider
        self.known: dict[str, float] = {} if cache is None else cache.get(KEPT, {})
        self.seen: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        longest: dict[str, float] = {}
        for item in items:
            longest[_file(item.nodeid)] = max(longest.get(_file(item.nodeid), 0.0), self._expected(item))
        items.sort(key=lambda item: -longest[_file(item.nodeid)])

    def _expected(self, item: pytest.Item) -> float:
        # What was never timed has its place by its marker.
        return self.known.get(item.nodeid, 10.0 if item.get_closest_marker("slow") else 0.0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seen[report.nodeid] = self.seen.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput") or getattr(session.config, "cache", None) is None:
            return  # of several processes, the one that shares the tests has heard of all
        kept = {test: seconds for test, seconds in self.known.items() if test not in self.seen}
        long = {test: round(seconds, 1) for test, seconds in self.seen.items() if seconds >= LONG}
        session.config.cache.set(KEPT, {**kept, **long})

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> OneTestAtATime:
        return OneTestAtATime(config, log)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]
