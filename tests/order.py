"""The order of the tests, and how several processes share them: the longest first, so that none is waited for alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

KEPT = "aakit/seconds"
"""The key in pytest's own cache under which the seconds of long tests go from one session to the next, by test."""

LONG = 1.0
"""Seconds from which on a test counts for the place of its file."""

PARITY = "tests/parity/"
"""Its files share a model and a count, and so a process."""


class OneFileAtATime(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process that has time the next file: its tests share what it makes. Those of parity are one."""

    def _split_scope(self, nodeid: str) -> str:
        return PARITY if nodeid.startswith(PARITY) else _file(nodeid)


class LongestFirst:
    """Sorts files by the seconds of their long tests, as they were in earlier sessions."""

    def __init__(self, config: pytest.Config) -> None:
        cache = getattr(config, "cache", None)  # absent with -p no:cacheprovider
        self.known: dict[str, float] = {} if cache is None else cache.get(KEPT, {})
        self.seen: dict[str, float] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        seconds = defaultdict[str, float](float)
        for item in items:
            seconds[_file(item.nodeid)] += self._expected(item)
        items.sort(key=lambda item: -seconds[_file(item.nodeid)])

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
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> OneFileAtATime:
        config.option.loadscopereorder = False  # by their number of tests, that is
        return OneFileAtATime(config, log)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]
