"""Probes that a child process is given: one for each way in which a probe can end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

from aaclip_kit import UserError
from aaclip_kit.doctor.examine import Finding

FIRST = Finding("first", "good", "fine: ü")


def good() -> Iterator[Finding]:
    print("a library talks")
    os.system("echo and its program too")
    yield FIRST
    yield Finding("second", "note", "slow", "wait")


def raises() -> Iterator[Finding]:
    yield FIRST
    raise KeyError("a\nb")


def refuses() -> Iterator[Finding]:
    raise UserError("is wrong", where="key", fix="mend it")
    yield FIRST


def leaves() -> Iterator[Finding]:
    yield FIRST
    sys.exit(3)


def crashes() -> Iterator[Finding]:
    yield FIRST
    print("last words", file=sys.stderr, flush=True)
    os.abort()


def hangs() -> Iterator[Finding]:
    yield FIRST
    time.sleep(60)
