from __future__ import annotations

import subprocess
import sys
from time import monotonic

import pytest

from aaclip_kit.doctor import examine as module
from aaclip_kit.doctor.examine import PROBES, Finding, examine

from .given import FIRST


def probe(name: str) -> str:
    return f"tests.doctor.given:{name}"


def advice(name: str) -> str:
    return f"python -m aaclip_kit.doctor {probe(name)} shows what happened"


def test_findings_come_whole_and_in_order_whatever_is_printed_beside_them() -> None:
    assert list(examine([probe("good")])) == [FIRST, Finding("second", "note", "slow", "wait")]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("raises", r"KeyError: 'a\nb'"),
        ("leaves", "SystemExit: 3"),
        ("crashes", "its process ended with -6 (last words)"),
    ],
)
def test_a_probe_that_fails_is_a_finding_after_what_it_found(name: str, why: str) -> None:
    found = list(examine([probe(name), probe("good")]))
    assert found[:2] == [FIRST, Finding(name, "bad", f"could not be looked at: {why}", advice(name))]
    assert [one.name for one in found[2:]] == ["first", "second"]


def test_a_probe_that_hangs_is_stopped() -> None:
    began = monotonic()
    found = list(examine([probe("hangs")], patience=3))
    assert monotonic() - began < 20
    assert found[-1] == Finding(
        "hangs", "bad", "could not be looked at: it did not end within 3 seconds", advice("hangs")
    )


def test_what_a_user_can_mend_keeps_its_advice() -> None:
    assert list(examine([probe("refuses")])) == [Finding("refuses", "bad", "key is wrong", "mend it")]


def test_a_probe_that_is_not_there_is_a_finding() -> None:
    (found,) = examine(["tests.doctor.nowhere:look"])
    assert (found.name, found.status) == ("look", "bad")
    assert "ModuleNotFoundError" in found.found


def test_no_process_at_all_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    (found,) = examine([probe("good")])
    assert found.status == "bad" and "no process could be started" in found.found


def test_the_probe_alone_shows_its_traceback() -> None:
    command = [sys.executable, "-m", "aaclip_kit.doctor", probe("raises")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" in ran.stderr and "Traceback" not in ran.stdout


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_exists(name: str) -> None:
    place, _, function = name.partition(":")
    assert callable(getattr(__import__(place, fromlist=["*"]), function))


def test_time_is_left_for_slow_disks() -> None:
    assert module.PATIENCE >= 60
