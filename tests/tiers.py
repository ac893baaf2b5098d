"""Which of a test's parameters run every day; the others are left to `make test-all`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def daily(values: Iterable[Any], *chosen: Any) -> list[Any]:
    """All the values as parameters: those not chosen are marked slow, for the chosen ones hold the fact already."""
    return [value if value in chosen else pytest.param(value, marks=pytest.mark.slow) for value in values]
