"""A plugin file of trackers for tests: one that records, and others that fail each in its way."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from aaclip_kit import Options, Tracker, UserError, hookimpl


class RecordedOptions(Options):
    """Points as lines of JSON."""

    file: str = "points.jsonl"


class Recorded(Tracker):
    def __init__(self, options: Any) -> None:
        self.options = options

    def begin(self, run: Any) -> Any:
        self.run = run
        self.file = run.files / self.options.file
        return str(self.file)

    def scalars(self, points: Any) -> None:
        for point in points:
            self.write(point.step, dict(point.values))

    def picture(self, step: int, name: str, file: Path) -> None:
        self.write(step, {name: file.name})

    def end(self, finished: bool) -> None:
        self.write(-1, {"finished": finished})

    def write(self, step: int, values: Any) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps([step, values]) + "\n")


class RefusesToBegin(Recorded):
    def begin(self, run: Any) -> Any:
        raise ConnectionError("no server\x1b[2J answers")


class RaisesLater(Recorded):
    def scalars(self, points: Any) -> None:
        raise UserError("the quota is used up", fix="buy more")


class DiesByItself(Recorded):
    def scalars(self, points: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class HangsWithTheLock(Recorded):
    """As code of C may: no thread of Python's goes on meanwhile."""

    def begin(self, run: Any) -> Any:
        ctypes.PyDLL(None).sleep(600)


class Impossible(Recorded):
    def __init__(self, options: Any) -> None:
        raise UserError("needs a lake", where="use", fix="find one")


class Slow(Recorded):
    def scalars(self, points: Any) -> None:
        time.sleep(30)


@hookimpl
def register_trackers(register: Any) -> None:
    for name, tracker in (
        ("recorded", Recorded), ("refuses", RefusesToBegin), ("raises", RaisesLater), ("dies", DiesByItself),
        ("hangs", HangsWithTheLock), ("impossible", Impossible), ("slow", Slow),
    ):  # fmt: skip
        register(name, tracker, RecordedOptions)
