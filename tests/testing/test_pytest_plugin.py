"""`pytest --aakit KIND:NAME` in a session of its own."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import aaclip_kit_plugins.losses
import pytest

import aaclip_kit.testing

from .broken import losses

pytest_plugins = "pytester"
LOSSES = Path(losses.__file__)


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """What they use is imported: modules that an inner session is the first to import would leave with it."""
    for package in (aaclip_kit.testing, aaclip_kit_plugins.losses):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    importlib.import_module("open_clip")  # it brings parts of torch that cannot be imported a second time


@pytest.fixture
def other(pytester: pytest.Pytester) -> Path:
    """A test beside it that fails."""
    return pytester.makepyfile(test_other="def test_other():\n    raise RuntimeError('the other test ran')\n")


def run(pytester: pytest.Pytester, *arguments: str | Path) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-v", "-rs", *map(str, arguments))


def test_the_checks_of_a_component_are_all_that_runs(pytester: pytest.Pytester, other: Path) -> None:
    ran = run(pytester, "--aakit", "loss:dice", "--aakit-options", "smooth = 2.0")
    assert ran.ret == 0, str(ran.stdout)
    assert "loss:dice[L4-finite-at-the-edges] PASSED" in str(ran.stdout)
    assert "11 passed" in str(ran.stdout) and "test_other" not in str(ran.stdout)


def test_collected_alone_they_are_counted(pytester: pytest.Pytester) -> None:
    found = run(pytester, "--aakit", "loss:dice", "--collect-only")
    assert found.ret == 0 and "11 tests collected" in str(found.stdout)
    assert "loss:dice[L10-trains-in-a-run]" in str(found.stdout)


def test_a_broken_promise_is_told_in_four_lines(pytester: pytest.Pytester, other: Path) -> None:
    ran = run(pytester, "--aakit", "loss:thresholds", "--aakit-file", LOSSES, "--maxfail=1")
    assert ran.ret == 1
    start = str(ran.stdout).index("loss 'thresholds' breaks its contract: L6 gradient reaches what is trained")
    assert [line.split(":")[0].strip() for line in str(ran.stdout)[start:].splitlines()[1:4]] == [
        "found",
        "contract",
        "mend",
    ]
    assert "Traceback" not in str(ran.stdout) and "check.py" not in str(ran.stdout)


def test_tests_that_the_command_line_names_run_too(pytester: pytest.Pytester, other: Path) -> None:
    ran = run(pytester, "--aakit", "loss:knows_its_side", "--aakit-file", LOSSES, other)
    assert ran.ret == 1
    assert "the other test ran" in str(ran.stdout)
    assert "loss 'knows_its_side' breaks its contract: L10" in str(ran.stdout)
    assert "found.reshape(len(found), 1, 16, 16)" in str(ran.stdout), "an exception is shown where it was raised"


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
def test_wrong_use_is_a_plain_message(pytester: pytest.Pytester, arguments: list[str], said: str) -> None:
    ran = run(pytester, *arguments)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    assert said in str(ran.stderr)
    assert "Traceback" not in f"{ran.stdout}{ran.stderr}"


def test_a_session_without_it_is_as_before(pytester: pytest.Pytester, other: Path) -> None:
    ran = run(pytester)
    assert "1 failed" in str(ran.stdout)
