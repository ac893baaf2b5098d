"""The peers' goldens of a method's module, and the check that all of them were compared."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

import pytest

from .peer import Peer, find_peer

READ = pytest.StashKey[dict[str, Peer | None]]()


@pytest.fixture(scope="module")
def peer(request: pytest.FixtureRequest) -> Peer:
    """The goldens of the method that the module names; skips where there are none."""
    method: str = request.module.METHOD
    read = request.config.stash.setdefault(READ, {})
    if method not in read:
        read[method] = find_peer(method, request.config)
    found = read[method]
    if found is None:
        pytest.skip(f"no goldens of {method} in ../shared/peers; --goldens DIR names another folder")
    return found


@pytest.fixture
def compared(peer: Peer, request: pytest.FixtureRequest) -> Peer:
    """The same after every test of the module; skips where only a part of them was asked for."""
    module = request.module
    asked = {getattr(item, "originalname", item.name) for item in request.session.items if item.module is module}  # type: ignore[attr-defined]
    if {name for name, _ in inspect.getmembers(module, inspect.isfunction) if name.startswith("test_")} - asked:
        pytest.skip("only a part of the parity tests was asked for")
    return peer


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    peers = {method: peer for method, peer in config.stash.get(READ, {}).items() if peer is not None}
    if any(peer.compared for peer in peers.values()):
        terminalreporter.section("parity: worst difference in each part of a method")
        for line in table(peers):
            terminalreporter.write_line(line)


PROFILES = ("published", "published_float32", "corrected", "")


def table(peers: Mapping[str, Peer]) -> Iterator[str]:
    """Lines of a Markdown table: method, part, keys, tolerance, worst difference in each profile."""
    yield "| method | part | keys | allowed | published | published, float32 | corrected | either |"
    yield "|---" * 8 + "|"
    for method, peer in peers.items():
        parts: dict[tuple[str, float], dict[str, list[float]]] = {}
        for key, by in peer.compared.items():
            first, *rest = key.split("/")
            profile, part = (first, rest[0]) if first in PROFILES else ("", first)
            parts.setdefault((part, peer.allowed[key]), {}).setdefault(profile, []).append(by)
        for (part, allowed), found in parts.items():
            worst = [f"{max(found[profile]):.1e}" if profile in found else "" for profile in PROFILES]
            count = sum(map(len, found.values()))
            yield f"| {method} | {part} | {count} | {allowed:.0e} | {' | '.join(worst)} |"
