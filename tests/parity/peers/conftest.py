"""The peers' goldens of a method's module, and the check that all of them were compared."""

from __future__ import annotations

import inspect

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
