"""Lives of `aakit` processes that end when the test says, however far they have come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open


class Nursery:
    """Starts one command after another in a warm process; `log` collects what they print."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log

    def live(
        self,
        *arguments: object,
        kill_after: float | None = None,
        at_work: Path | None = None,
        signal_when: Callable[[], bool] | None = None,
        number: int = signal.SIGKILL,
    ) -> int:
        """Run a command, or end it by a signal. Returns its exit code, negative for a signal that ended it.

        The signal comes as soon as `signal_when` is true, or `kill_after` so many seconds; with `at_work` these begin
        when the command writes that folder's manifest, which is when it is done with loading.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        if at_work is not None:
            signal_when = partial(_is_written_after, at_work / "manifest.json", _written(at_work / "manifest.json"))
        self.process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if kill_after is not None or signal_when is not None:
            while signal_when is not None and not signal_when() and _lives(child):
                time.sleep(0.005)
            time.sleep(kill_after or 0.0)
            with suppress(ProcessLookupError):
                os.kill(child, number)
        return int(self.process.stdout.readline())


def _written(file: Path) -> int:
    """When a file was written last, in nanoseconds; 0 where it is not there."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _is_written_after(file: Path, before: int) -> bool:
    return _written(file) > before


def _lives(child: int) -> bool:
    try:
        os.kill(child, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """A warm process for commands; it ends with the block."""
    log = folder / "children.log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AAKIT_CHILD_LOG": str(log), "COLUMNS": "200"}
    command = [sys.executable, "-m", "tests.run.nursery"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], **pipes) as process:
        yield Nursery(process, log)
        assert process.stdin is not None
        process.stdin.close()


def results_of(run: Path) -> dict[str, object]:
    """What must not depend on how often a run has died: metrics, weights, events, curves, thresholds."""
    names = ["metrics.json", "events.jsonl", "curves.json", "calibration.json"]
    found: dict[str, object] = {name: (run / name).read_bytes() for name in names}
    return {**found, **{path.name: _weights(path) for path in sorted((run / "checkpoints").iterdir())}}


def _weights(path: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """Metadata and bytes of a checkpoint, whose header has them in any order."""
    with safe_open(path, framework="np") as file:
        names = sorted(file.keys())
        return dict(file.metadata()), {name: file.get_tensor(name).tobytes() for name in names}
