from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit.doctor.installation import TELLING, variables


@pytest.fixture
def none_set(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in TELLING:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_none_is_set(none_set: pytest.MonkeyPatch) -> None:
    (found,) = variables()
    assert (found.status, found.found) == ("good", f"none is set of {', '.join(TELLING)}")


def test_those_that_are_set_are_shown_and_no_others(none_set: pytest.MonkeyPatch, tmp_path: Path) -> None:
    none_set.setenv("AAKIT_REALDATA", str(tmp_path))
    none_set.setenv("HF_HUB_OFFLINE", "0")
    none_set.setenv("HF_TOKEN", "secret")
    (found,) = variables()
    assert (found.status, found.found) == ("good", f"AAKIT_REALDATA={tmp_path}, HF_HUB_OFFLINE=0")


@pytest.mark.parametrize(
    ("name", "value", "status", "words"),
    [
        ("AAKIT_REALDATA", "nowhere", "bad", "AAKIT_REALDATA names nowhere, where there is no folder"),
        ("HF_HUB_OFFLINE", "1", "note", "are not fetched"),
        ("TRITON_INTERPRET", "1", "note", "Triton's interpreter"),
    ],
)
def test_what_is_wrong_with_one(none_set: pytest.MonkeyPatch, name: str, value: str, status: str, words: str) -> None:
    none_set.setenv(name, value)
    first, second = variables()
    assert (first.status, first.found) == ("good", f"{name}={value}")
    assert second.status == status and words in second.found and second.advice
