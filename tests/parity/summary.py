"""How well the goldens agree, as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .keys import COVERED, PROFILES, TOLERANCES, group_of, kind_of


def table(worst: Mapping[str, float]) -> Iterator[str]:
    """Lines of a Markdown table: what, tolerance, worst difference in each profile."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for key, difference in sorted(worst.items(), key=lambda item: _place(item[0])):
        group, kind = group_of(key), kind_of(key)
        row = rows.setdefault((re.sub("^stage2.*", "stage2", group.name), kind), {})
        row[group.profile] = max(row.get(group.profile, 0.0), difference)
    yield f"| goldens | kind | allowed | {' | '.join(PROFILES)} |"
    yield f"|---|---|---|{'---|' * len(PROFILES)}"
    for (name, kind), row in rows.items():
        cells = [f"{row[profile]:.1e}" if profile in row else "" for profile in PROFILES]
        yield f"| {name} | {kind} | {TOLERANCES[kind]:.0e} | {' | '.join(cells)} |"


def _place(key: str) -> int:
    test = group_of(key).test
    return len(COVERED) if test is None else list(COVERED).index(test)
