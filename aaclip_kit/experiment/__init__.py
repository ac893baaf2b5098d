"""Experiment files: reading, checking, and writing the resolved copy."""

from collections.abc import Sequence
from pathlib import Path

from ..registry import Registry
from .check import Chosen, Experiment, check
from .resolved import resolved_toml
from .source import read

__all__ = ["Chosen", "Experiment", "check", "load", "read", "resolved_toml"]


def load(path: Path, registry: Registry, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file. Raises `UserError` with every fault found."""
    return check(read(path, overrides), registry, str(path))
