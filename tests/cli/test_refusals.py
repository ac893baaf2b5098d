"""What the system refuses, and a user whom it does not know: one message that names the path and the fix."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ..command import Command
from ..finding import forbidden, without_home
from .conftest import assert_plain

COMMANDS = (
    ["data", "check", "private/images"],
    ["data", "manifest", "private", "--layout", "images", "--out", "list.csv"],
    ["validate", "private/file.toml"],
    ["evaluate", "private/run"],
    ["predict", "private/run", ".", "--out", "out"],
    ["data", "check", "a" * 300],
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments)[:30])
def test_a_path_that_may_not_be_looked_at(
    aakit: Command, place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    (place / "private").mkdir()
    forbidden(monkeypatch, Path("private"), place / "private")
    ran = aakit(*arguments)
    assert_plain(ran)
    assert "Permission denied" in ran.err or "File name too long" in ran.err


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_user_whom_nobody_knows_can_run_and_predict(
    aakit: Command, place: Path, small_experiment: Path, defects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_home(monkeypatch)
    assert aakit("run", small_experiment, "--out", "run").code == 0
    ran = aakit("predict", "run", defects / "red_cloth" / "test", "--uncalibrated", "--out", "found")
    assert (ran.code, ran.err) == (0, "")
    shutil.rmtree("run")
    refused = aakit("run", small_experiment, "--out", "run", "--set", "cache.features=disk")
    assert_plain(refused)
    assert "HOME" in refused.err
