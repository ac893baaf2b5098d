"""The command in this process, through the function that the installed script calls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from aaclip_kit.cli import main


class Ran(NamedTuple):
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs `aakit` with its arguments. Whatever escapes as a traceback escapes here too."""

    def run(*arguments: object, columns: int = 200) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["aakit", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    return run
