"""Experiment files: reading, checking, and writing the resolved copy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError
from ..plugin_host.registry import Registry
from .check import ComponentConfig, Experiment, check, check_data_table
from .overrides import checked, overridden, read
from .resolved import resolved_toml
from .toml_file import anchored, plugin_files, read_toml

__all__ = [
    "ComponentConfig",
    "Experiment",
    "anchored",
    "check",
    "check_data_table",
    "check_with_plugin_files",
    "checked",
    "load",
    "overridden",
    "read",
    "read_toml",
    "resolved_toml",
]


def load(path: Path, registry: Registry, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file, with the plugin files that it names. Raises `UserError` with every fault."""
    tables = anchored(read_toml(path), path.parent)
    if "variants" in tables and "backbone" not in tables:
        problem = "is an ablation file, not an experiment file"
        raise UserError(problem, where=str(path), fix="run it with `aakit ablate`")
    return checked(tables, overrides, lambda tables: check_with_plugin_files(tables, registry, str(path)))


def check_with_plugin_files(tables: dict[str, Any], registry: Registry, source: str) -> Experiment:
    """Check tables that come from a file which the user has named: the plugin files that they name are run."""
    # Here, because loading plugins needs this package's schema.
    from ..plugin_host.discovery import with_plugin_files

    return check(tables, with_plugin_files(registry, plugin_files(tables), f"{source}: plugins"), source)
