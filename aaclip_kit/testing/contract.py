"""The checks of each kind, in the order in which they are run."""

from __future__ import annotations

from importlib import import_module

from ..contracts.errors import UserError, nearest_hint
from ..plugin_host.registry import KINDS, Kind
from .check import Check


def checks_of(kind: Kind) -> tuple[Check, ...]:
    """The contract of a kind, promise by promise. Raises `UserError` for a kind that there is not."""
    if kind not in KINDS:
        fix = f"{nearest_hint(kind, KINDS)}kinds: {', '.join(KINDS)}"
        raise UserError(f"there is no kind '{kind}'", fix=fix)
    checks: tuple[Check, ...] = import_module(f".{kind.replace('-', '_')}", __package__).CHECKS
    return checks
