"""`pytest --aakit KIND:NAME` in a session of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .broken import losses

LOSSES = Path(losses.__file__)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A test beside it that fails."""
    file = tmp_path / "test_other.py"
    file.write_text("def test_other():\n    raise RuntimeError('the other test ran')\n")
    return file


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-rs", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=300, env={**environment, "OMP_NUM_THREADS": "1"}
    )


def test_the_checks_of_a_component_are_all_that_runs(other: Path) -> None:
    ran = run("--aakit", "loss:dice", "--aakit-options", "smooth = 2.0", cwd=other.parent)
    assert ran.returncode == 0, ran.stdout
    assert "loss:dice[L4-finite-at-the-edges] PASSED" in ran.stdout
    assert "11 passed" in ran.stdout and "test_other" not in ran.stdout


def test_a_broken_promise_is_told_in_four_lines(other: Path) -> None:
    ran = run("--aakit", "loss:thresholds", "--aakit-file", LOSSES, "--maxfail=1", cwd=other.parent)
    assert ran.returncode == 1
    start = ran.stdout.index("loss 'thresholds' breaks its contract: L6 gradient reaches what is trained")
    assert [line.split(":")[0].strip() for line in ran.stdout[start:].splitlines()[1:4]] == [
        "found",
        "contract",
        "mend",
    ]
    assert "Traceback" not in ran.stdout and "check.py" not in ran.stdout


def test_tests_that_the_command_line_names_run_too(other: Path) -> None:
    ran = run("--aakit", "loss:knows_its_side", "--aakit-file", LOSSES, other, cwd=other.parent)
    assert ran.returncode == 1
    assert "the other test ran" in ran.stdout
    assert "loss 'knows_its_side' breaks its contract: L10" in ran.stdout
    assert "found.reshape(len(found), 1, 16, 16)" in ran.stdout, "an exception is shown where it was raised"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--aakit", "loss:dize"], "there is no loss called 'dize'"),
        (["--aakit", "loss"], "there is no loss called ''"),
        (["--aakit", "losses:dice"], "there is no kind 'losses'"),
        (["--aakit", "loss:dice", "--aakit-options", "smooth ="], "--aakit-options: is not TOML"),
        (["--aakit", "loss:dice", "--aakit-options", "smoth = 1"], "did you mean 'smooth'?"),
        (["--aakit-options", "smooth = 1"], "--aakit-options and --aakit-file need --aakit KIND:NAME"),
    ],
)
def test_wrong_use_is_a_plain_message(arguments: list[str], said: str, tmp_path: Path) -> None:
    ran = run(*arguments, cwd=tmp_path)
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert said in ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr


def test_a_session_without_it_is_as_before(other: Path) -> None:
    ran = run(cwd=other.parent)
    assert "1 failed" in ran.stdout
