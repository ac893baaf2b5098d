"""Every probe in turn, each in a process of its own: one that hangs or crashes is a finding, and harms no other."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["good", "note", "bad"]

GB: Final = 1e9

PROBES: Final = (
    *(f"{__package__}.installation:{probe}" for probe in ("python", "packages", "extras", "libraries")),
    *(f"{__package__}.machine:{probe}" for probe in ("processor", "memory", "cuda", "disk", "cache")),
    *(f"{__package__}.installation:{probe}" for probe in ("plugins", "weights", "variables")),
)
"""Functions without arguments that give findings, as "module:function"."""

PATIENCE: Final = 120.0
"""Seconds after which a probe is stopped. Importing torch from a slow disk takes most of a minute."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, in words, and what to do about it.

    "bad" makes something fail that should work; "note" is worth knowing, and costs speed or a feature at most.
    """

    name: str
    status: Status
    found: str
    advice: str | None = None


def examine(probes: Iterable[str] = PROBES, patience: float = PATIENCE) -> Iterator[Finding]:
    """Yield what the probes find, in their order. Raises nothing: a probe that fails is a finding."""
    for probe in probes:
        yield from _ask(probe, patience)


def could_not(probe: str, why: str) -> Finding:
    """The finding about a probe that failed."""
    advice = f"python -m {__package__} {probe} shows what happened"
    return Finding(probe.rpartition(":")[2], "bad", f"could not be looked at: {why}", advice)


def _ask(probe: str, patience: float) -> Iterator[Finding]:
    # It sees the modules that this process sees, and not those that happen to lie where the command runs (-P).
    command = [sys.executable, "-P", "-m", str(__package__), probe]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    fault: str | None = None
    try:
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience, env=environment)
        said = ran.stdout
        if ran.returncode:
            fault = f"its process ended with {ran.returncode}{_last_line(ran.stderr)}"
    except subprocess.TimeoutExpired as late:
        said, fault = late.stdout or b"", f"it did not end within {patience:g} seconds"
    except OSError as error:
        said, fault = b"", f"no process could be started ({error})"
    for line in said.splitlines():
        try:
            yield Finding(**json.loads(line))
        except ValueError:  # the line that was being written
            break
    if fault:
        yield could_not(probe, fault)


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").split("\n")
    return next((f" ({line.strip()})" for line in reversed(lines) if line.strip()), "")
