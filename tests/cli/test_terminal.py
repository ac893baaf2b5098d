"""A reader of standard output that has gone, and a place that takes no more."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.cli.terminal import PlainConsole, plain_table, say
from aaclip_kit.contracts.errors import in_short
from aaclip_kit.data.checks import remark_on_remembered


class Broken(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


WAYS: list[Callable[[io.StringIO], None]] = [
    lambda file: say("x", file=file),
    lambda file: PlainConsole(file=file).print("x"),
    lambda file: PlainConsole(file=file).print_line("x"),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_place_that_takes_no_more_is_named(way: Callable[[io.StringIO], None]) -> None:
    with pytest.raises(UserError, match="cannot be written") as caught:
        way(Broken(errno.ENOSPC))
    assert caught.value.where == "standard output"


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_that_has_gone_ends_the_program_as_the_system_does(way: Callable[[io.StringIO], None]) -> None:
    with pytest.raises(SystemExit) as left:
        way(Broken(errno.EPIPE))
    assert left.value.code == 141


@pytest.mark.parametrize("way", WAYS)
def test_a_terminal_that_was_closed_is_passed_over(way: Callable[[io.StringIO], None]) -> None:
    way(Broken(errno.EIO))


def test_a_name_of_two_lines_makes_no_line_of_its_own() -> None:
    """A file may be called so that what follows reads as another image's score."""
    out, name = io.StringIO(), "a.png\n    -9.9  normal  b.png"
    PlainConsole(file=out, width=120).print(plain_table("score", "image", rows=[("1", name)]))
    assert len(out.getvalue().splitlines()) == 2 and "a.png\\n" in out.getvalue()
    assert in_short([Path(name), "c"]) == "a.png\\n    -9.9  normal  b.png, c"
    assert remark_on_remembered([Path(name)])[0].count("\n") == 0


@pytest.mark.slow
def test_the_command_says_so_too() -> None:
    command = [sys.executable, "-P", "-m", "aaclip_kit", "list-plugins"]
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr.splitlines()[0]) == (
        2, "error: standard output: cannot be written (No space left on device)",
    )  # fmt: skip
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, "")
