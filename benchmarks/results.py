"""The results as tables on the terminal, and in the file that keeps the last whole run of each device."""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures import ASKED, Figures, Raw
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from workload import Load

LATEST = Path(__file__).parent / "results" / "latest.json"
_COLUMNS = {
    "images_per_s": "images/s", "naive_images_per_s": "naive", "ratio": "ratio", "gflops": "GFLOP/s",
    "matmul_share": "of peak", "peak_gb": "GB", "naive_peak_gb": "naive GB",
}  # fmt: skip
_ROWS = {"": "", "cached_": "  kept features", "cached_own_context_": "  own context"}


def show(found: Figures, loads: Iterable[Load]) -> None:
    """Print a table of what was measured."""
    table = Table(Column("medians", no_wrap=True), *_COLUMNS.values(), box=SIMPLE, padding=0, collapse_padding=False)
    for load in loads:
        for prefix, label in _ROWS.items():
            values = [found.get(f"{load.key}_{prefix}{name}") for name in _COLUMNS]
            if any(value is not None for value in values):
                table.add_row(label or load.key, *("" if value is None else f"{value:.3g}" for value in values))
    Console().print(table)


def show_asked(device: str, found: Figures) -> int:
    """Print what is asked of the figures that there are; returns how many miss it."""
    demands = [asked for asked in ASKED[device] if asked.figure in found]
    table = Table("figure", "value", "asked", "", box=SIMPLE)
    for asked in demands:
        verdict = "reached" if asked.reached(found) else "MISSED"
        table.add_row(asked.figure, f"{found[asked.figure]:.3g}", f"{asked.sign} {asked.value:g}", verdict)
    Console().print(table)
    return sum(not asked.reached(found) for asked in demands)


def read(path: Path) -> dict[str, Any]:
    """The sections of a file; none where there is no file. Exits 2 for one that is no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        content = error
    if not isinstance(content, dict):
        print(f"error: {path} holds no results ({content}); move it away", file=sys.stderr)
        sys.exit(2)
    return content


def write(path: Path, machine: str, device: str, found: Figures, measured: Mapping[Load, Raw]) -> None:
    """Put one device's section into the file, beside those of others; it is replaced at once, when all is written."""
    content = read(path)
    now = {"machine": machine, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    demands = {asked.figure: f"{asked.sign} {asked.value:g}" for asked in ASKED[device] if asked.figure in found}
    raw = {load.key: dict(one) for load, one in measured.items()}
    content.update({**now, device: {**now, **found, "asked": demands, "raw": raw}})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
