"""The command itself over damaged files: exit code 0 or 2, no traceback, and nothing written or changed."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from aaclip_kit.cli import main

from ..cli.conftest import contents
from ..hostile.given import within
from .build import CSV, LINES, METADATA, SMALL, WHOLE
from .cases import damaged, fuzzed

COMMANDS: dict[str, tuple[bytes, list[str]]] = {
    "a.toml": (WHOLE.encode(), ["validate", "{}"]),
    "b.toml": (WHOLE.encode(), ["run", "{}", "--dry-run"]),
    "c.toml": (WHOLE.encode(), ["list-plugins", "--experiment", "{}"]),
    "a.jsonl": (LINES, ["data", "check", "{}"]),
    "a.csv": (CSV, ["data", "check", "{}", "--json"]),
    "a.safetensors": (save(SMALL, METADATA), ["predict", "{}", ".", "--out", "{}.out"]),
    "b.safetensors": (save(SMALL, METADATA), ["export-checkpoint", "{}", "--out", "there"]),
}


def run(arguments: list[str]) -> tuple[int, str]:
    err = io.StringIO()
    with (
        patch.object(sys, "argv", ["aakit", *arguments]),
        pytest.raises(SystemExit) as left,
        within(60),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(err),
    ):
        main()
    return int(left.value.code or 0), err.getvalue()


@given(st.data())
@fuzzed(0.1)
def test_commands_over_damaged_files(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(COMMANDS)))
    whole, arguments = COMMANDS[name]
    content = data.draw(damaged([whole]))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("there").mkdir()
        Path("there", "kept.txt").write_text("kept")
        Path(name).write_bytes(content)
        before = contents(Path(folder))
        code, said = run([argument.replace("{}", str(Path(folder, name))) for argument in arguments])
        assert contents(Path(folder)) == before
    assert code in (0, 2), said
    assert "Traceback" not in said
    assert code == 0 or said.startswith("error: "), said
