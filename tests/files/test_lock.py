"""One run a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.cli.screen import QuietScreen
from aaclip_kit.experiment import load
from aaclip_kit.files.lock import LOCK, locked
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import assemble
from aaclip_kit.run.loop import execute

HOLD = """
import sys, time
from pathlib import Path
from aaclip_kit.files.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_run_is_refused_until_the_first_dies_however_it_dies(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another run is at work in this folder"), locked(tmp_path):
            pass
        other.kill()
        other.wait()
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()


def test_a_run_holds_the_lock_of_its_folder(tmp_path: Path, small_experiment: Path) -> None:
    run, refused = assemble(load(small_experiment, discover())), list[str]()

    class Tries(QuietScreen):
        def phase(self, *found: object) -> None:
            try:
                with locked(tmp_path / "run"):
                    pass
            except UserError as error:
                refused.append(error.problem)

    execute(run, RunFolder.create(tmp_path / "run"), Tries())
    assert refused == ["another run is at work in this folder"] * 4
    with locked(tmp_path / "run"):
        pass
