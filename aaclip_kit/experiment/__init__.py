"""Experiment files: reading, checking, and writing the resolved copy."""

from collections.abc import Sequence
from pathlib import Path

from ..contracts.errors import UserError
from ..registry import Registry
from .check import Chosen, Experiment, check, check_data_table
from .resolved import resolved_toml
from .source import overridden, read, read_toml

__all__ = [
    "Chosen",
    "Experiment",
    "check",
    "check_data_table",
    "load",
    "overridden",
    "read",
    "read_toml",
    "resolved_toml",
]


def load(path: Path, registry: Registry, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file. Raises `UserError` with every fault found."""
    tables = read(path, overrides)
    if "variants" in tables and "backbone" not in tables:
        raise UserError(
            "is an ablation file, not an experiment file", where=str(path), fix="run it with `aakit ablate`"
        )
    return check(tables, registry, str(path))
