"""Keys that have moved to other tables since version 0.1."""

from collections.abc import Mapping
from typing import Any, Final

MOVED: Final[dict[str, tuple[str, ...]]] = {
    "model.projections": ("head.start", "prompts.projection"),
    "model.projection_activation": ("head.activation",),
}


def moved_hint(key: str) -> str:
    """Return where a key of an experiment file went, for messages; empty for one that never was."""
    return f"give {' and '.join(MOVED[key])} instead; " if key in MOVED else ""


def with_moved_keys(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of an experiment that an earlier version stored, with what moved in its present place."""
    found = {name: dict(table) if isinstance(table, dict) else table for name, table in tables.items()}
    for key, places in MOVED.items():
        table, old = key.split(".")
        if not isinstance(found.get(table), dict) or old not in found[table]:
            continue
        value = found[table].pop(old)
        for place in places:
            where, new = place.split(".")
            found.setdefault(where, {}).setdefault(new, value)
    return found
