"""A web server on this machine, and nothing between it and the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .server import Site, serving


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site without a file yet."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with serving() as site:
        yield site
