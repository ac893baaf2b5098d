"""From the events of a run to points: names and steps that every tracker shares."""

import json
import math
from collections.abc import Iterator, Mapping
from os import SEEK_END
from pathlib import Path
from typing import Any, Final

from ..contracts.errors import UserError, plain
from ..contracts.tracker import Point
from ..files.plain_file import WHOLE
from ..record.run_folder import EVENTS

_TABLES: Final = {"evaluation": "test/", "validation": "validation/", "scales": ""}
"""Events whose numbers all become scalars, with what stands before their names."""

_CHUNK: Final = 1 << 20


class EventLines:
    """The events of a run's folder from the first on, as far as whole lines of them are there."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / EVENTS
        self.number = 0
        """Lines that have been read."""
        self._place, self._rest = 0, b""

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield what has been written since the last call. Raises `UserError` for a line that is no event."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, SEEK_END) < self._place:
                    raise UserError("has become shorter", where=str(self.path), fix="give the command again")
                file.seek(self._place)
                while chunk := file.read(_CHUNK):
                    self._place += len(chunk)
                    *lines, self._rest = (self._rest + chunk).split(b"\n")
                    for line in lines:
                        self.number += 1
                        yield self._event(line)
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror or error})", where=str(self.path), fix=WHOLE) from None

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"line {self.number} is damaged ({error})", where=str(self.path), fix=WHOLE) from None
        if not isinstance(event, dict):
            raise UserError(f"line {self.number} is no event", where=str(self.path), fix=WHOLE)
        return event


class StepCount:
    """Training steps so far, through all phases and loops of a run."""

    def __init__(self) -> None:
        self.steps = 0

    def point(self, event: Mapping[str, Any]) -> Point | None:
        """Return the scalars of the next event; None where it has none. An undefined value, null, is left out."""
        kind = str(event.get("event"))
        if kind == "step":
            self.steps += 1
            values = dict(_numbers(_of_step(event), f"train/{plain(str(event.get('phase')))}/"))
        elif kind == "skipped":
            values = dict(_numbers({"skipped": event.get("skipped")}, "train/"))
        else:
            tables = {name: value for name, value in event.items() if name != "loop"}
            values = dict(_numbers(tables, _TABLES[kind])) if kind in _TABLES else {}
        return Point(self.steps, values) if values else None


def _of_step(event: Mapping[str, Any]) -> dict[str, Any]:
    single = {name: event.get(name) for name in ("loss", "rate", "epoch", "loop")}
    return {**single, "terms": event.get("terms"), "gradient_norms": event.get("gradient_norms")}


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """Every finite number of a table and of the tables in it, by the names on the way there."""
    for key, item in value.items() if isinstance(value, Mapping) else ():
        place = name + plain(str(key))
        if isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item):
            yield place, float(item)
        yield from _numbers(item, f"{place}/")
