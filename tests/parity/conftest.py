"""Where the goldens are, one test for each group of them, and a table of how well they agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ..conftest import SHARED
from ..tiers import daily
from .goldens import Goldens
from .keys import PROFILES, Group
from .rebuilt import Rebuilt, Workbench
from .summary import table

DEFAULT = SHARED / "parity"
ABSENT = "no goldens in ../shared/parity; --goldens DIR names another folder"
THREADS = torch.get_num_threads()
READ = pytest.StashKey[Goldens | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--goldens", metavar="DIR", help="folder of goldens to agree with (tests/parity only)")


def pytest_configure(config: pytest.Config) -> None:
    goldens_of(config)


def goldens_of(config: pytest.Config) -> Goldens | None:
    """The goldens, read once; None where the usual folder is absent."""
    if READ not in config.stash:
        named = config.getoption("--goldens", default=None)
        folder = DEFAULT if named is None else config.invocation_params.dir / named
        config.stash[READ] = _read(folder, required=named is not None)
    return config.stash[READ]


def _read(folder: Path, required: bool) -> Goldens | None:
    recipes = [path for path in (folder / "recipe.py", DEFAULT / "recipe.py") if path.is_file()]
    missing = [name for name in ("goldens.npz", "goldens.json") if not (folder / name).is_file()]
    if not recipes or missing:
        if required:
            raise pytest.UsageError(f"--goldens {folder}: there is no {', '.join(missing) or 'recipe.py'}")
        return None
    return Goldens.read(folder, recipes[0])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "group" not in metafunc.fixturenames:
        return
    goldens = goldens_of(metafunc.config)
    if goldens is None:
        metafunc.parametrize("group", [pytest.param(None, marks=pytest.mark.skip(reason=ABSENT), id="absent")])
        return
    groups = [group for group in goldens.groups if group.test == metafunc.function.__name__]
    # Models of published size are built and trained here, a minute's work: no group is compared every day.
    metafunc.parametrize("group", daily(groups), ids=[group.prefix for group in groups])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One profile after the other, for one model is held at a time; what was compared is checked at the end."""
    places = [place for place, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    for place, item in zip(places, sorted((items[place] for place in places), key=_turn), strict=True):
        items[place] = item


def _turn(item: pytest.Item) -> int:
    group = _group(item)
    if group is not None:
        return 1 + PROFILES.index(group.profile)
    return 1 + len(PROFILES) if "compared" in getattr(item, "fixturenames", ()) else 0


def _group(item: pytest.Item) -> Group | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("group")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Not here: the full architecture is worth every thread that torch was given."""
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def goldens(pytestconfig: pytest.Config) -> Goldens:
    found = goldens_of(pytestconfig)
    if found is None:
        pytest.skip(ABSENT)
    return found


@pytest.fixture(scope="package")
def workbench(goldens: Goldens) -> Iterator[Workbench]:
    bench = Workbench(goldens)
    yield bench
    bench.clear()


@pytest.fixture
def rebuilt(workbench: Workbench, group: Group) -> Rebuilt:
    """The toolkit in the profile that the group was made in."""
    return workbench.of(group.profile)


@pytest.fixture
def compared(goldens: Goldens, request: pytest.FixtureRequest) -> set[str]:
    """Every key that the session has compared; skips where only a part of the tests was asked for."""
    asked = {group.prefix for item in request.session.items if (group := _group(item)) is not None}
    covered = {group.prefix for group in goldens.groups if group.test is not None}
    if covered - asked:
        pytest.skip("only a part of the parity tests was asked for")
    return set(goldens.worst)


def pytest_sessionfinish(session: pytest.Session) -> None:
    goldens = goldens_of(session.config)
    if goldens is not None and hasattr(session.config, "workeroutput"):  # one of several processes of pytest-xdist
        session.config.workeroutput["parity"] = goldens.worst


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    goldens = goldens_of(node.config)
    if goldens is not None:
        goldens.worst.update(getattr(node, "workeroutput", {}).get("parity", {}))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    goldens = config.stash.get(READ, None)
    if goldens is not None and goldens.worst:
        terminalreporter.section("parity: worst difference in each group of goldens")
        for line in table(goldens.worst):
            terminalreporter.write_line(line)
