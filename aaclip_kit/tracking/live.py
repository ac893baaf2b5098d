"""Trackers while a run goes: each in a process of its own, which reads the events that the run writes anyway.

The run waits for none of them but a while at its end; what is not sent by then `aakit track` sends later.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ..contracts.errors import UserError
from ..experiment import ComponentConfig
from ..experiment.resolved import component_table
from .place import Place, table_of

PATIENCE: Final = 120.0
"""Seconds that a tracker may take for one call: a first connection, a database that is made."""

AT_THE_END: Final = 60.0
"""Seconds that a finished run waits for its trackers."""

WHEN_STOPPED: Final = 5.0
"""Seconds that a run waits for them which ends before its time: whoever stops it may not wait long."""


def check_trackers(trackers: Sequence[ComponentConfig]) -> None:
    """Build each tracker and forget it. Raises `UserError`, naming its table, where one could not work."""
    for number, chosen in enumerate(trackers):
        try:
            chosen.component.build(chosen.options)
        except UserError as error:
            where = f"trackers.{number}" if error.where is None else f"trackers.{number}: {error.where}"
            raise UserError(error.problem, where=where, fix=error.fix) from error


@dataclass(frozen=True)
class _Follower:
    """A tracker's process, and where it is in the run's folder."""

    name: str
    place: Place
    process: "subprocess.Popen[bytes]"


class LiveTrackers:
    """The trackers of a run while it is entered. `look` tells, once, of each that has been dropped.

    `plugins` are the experiment's plugin files; `tell` shows the user a line.
    """

    def __init__(
        self, trackers: Sequence[ComponentConfig], run: Path, plugins: Sequence[Path], tell: Callable[[str], None]
    ) -> None:
        self._trackers, self._run, self._plugins, self._tell = trackers, run, plugins, tell
        self._following: list[_Follower] = []

    def __enter__(self) -> Self:
        for chosen in self._trackers:
            try:
                self._following.append(self._started(chosen))
            except OSError as error:
                reason = f"its process could not be started ({error.strerror or error})"
                self._dropped(chosen.component.name, reason)
        return self

    def _started(self, chosen: ComponentConfig) -> _Follower:
        place = Place.of(self._run, chosen.component.name, table_of(chosen))
        place.path.mkdir(parents=True, exist_ok=True)
        order = {
            "run": str(self._run), "place": str(place.path), "table": component_table(chosen),
            "plugins": [str(file.resolve()) for file in self._plugins], "patience": PATIENCE,
        }  # fmt: skip
        # -P: nothing that lies in the working directory is imported.
        command = [sys.executable, "-P", "-m", "aaclip_kit.tracking"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        # A session of its own: what the terminal sends is for the run.
        alone: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
        with place.log.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment, **alone
            )
        with suppress(OSError):  # that it died is seen when it is looked at
            assert process.stdin is not None
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        return _Follower(chosen.component.name, place, process)

    def look(self) -> None:
        """Tell of trackers that have been dropped since the last look; nothing is waited for."""
        for one in [one for one in self._following if one.process.poll() is not None]:
            self._following.remove(one)
            self._let_go(one)
            self._dropped(one.name, _reason(one))

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        until = time.monotonic() + (AT_THE_END if kind is None else WHEN_STOPPED)
        self.look()
        for one in self._following:
            self._let_go(one)
        try:
            for one in self._following:
                self._last(one, until)
        finally:
            for one in self._following:
                one.process.kill()
                one.process.wait()

    def _last(self, one: _Follower, until: float) -> None:
        try:
            if one.process.wait(max(0.0, until - time.monotonic())):
                self._dropped(one.name, _reason(one))
        except subprocess.TimeoutExpired:
            self._dropped(one.name, "it has not sent everything yet, and is not waited for")

    def _let_go(self, one: _Follower) -> None:
        with suppress(OSError):
            assert one.process.stdin is not None
            one.process.stdin.close()

    def _dropped(self, name: str, reason: str) -> None:
        rest = f"aakit track {self._run} --to {name} sends the rest"
        self._tell(f"warning: tracker {name} is dropped: {reason}; {rest}")


def _reason(one: _Follower) -> str:
    """Why a process has ended: what it wrote down itself, or how it ended."""
    code = one.process.returncode
    with suppress(UserError):
        if code == 2 and (problem := one.place.sent.problem):
            return problem
    how = f"signal {-code}" if code < 0 else f"code {code}"
    with suppress(OSError):
        if b"Timeout (" in one.place.log.read_bytes()[-20_000:]:
            how = f"a call took more than {PATIENCE:g} seconds"
    return f"its process ended ({how}; {one.place.log})"
