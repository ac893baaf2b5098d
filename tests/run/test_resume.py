"""What `--resume` looks at before it goes on: nobody else's run, nobody's program, nothing that is finished."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.files.lock import locked
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.resume import unfinished
from aaclip_kit.run.snapshot import Snapshot, write_snapshot

from ..command import Command

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def died(finished: Path) -> Path:
    """As if it had died before its end, and before its first snapshot."""
    metrics = finished / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"quoted"', '"unquoted"'))
    (finished / "report.html").unlink()
    return finished


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "run.lock"}


def test_a_run_that_lives_loses_nothing_to_another_that_would_go_on_with_it(aakit: Command, died: Path) -> None:
    before = contents(died)
    with locked(died):
        ran = aakit("run", "--resume", died)
        assert ran.code == 2 and "another run is at work in this folder" in ran.err
        assert contents(died) == before and (died / "run.lock").exists()


@pytest.mark.parametrize("left", ["no report", "snapshots"])
def test_what_died_while_it_reported_gets_its_report_and_trains_no_more(
    aakit: Command, finished: Path, left: str
) -> None:
    (finished / "report.html").unlink()
    if left == "snapshots":
        write_snapshot(finished / "snapshots", Snapshot({}, {}))
    before = contents(finished)
    ran = aakit("run", "--resume", finished)
    assert ran.code == 0 and "it was finished but for its report, which is made now" in ran.out
    after = contents(finished)
    assert after.pop(finished / "report.html") and not (finished / "snapshots").exists()
    assert after == {path: held for path, held in before.items() if path.parent.name != "snapshots"}
    assert "is finished" in aakit("run", "--resume", finished).err and contents(finished).keys() == {
        *after, finished / "report.html",
    }  # fmt: skip


def _own(run: Path) -> None:
    write_snapshot(run / "snapshots", Snapshot({}, {"of": RunFolder(run).identity}))


def _edited(run: Path) -> None:
    _own(run)
    file = run / "experiment.toml"
    file.write_text(file.read_text().replace("seed = 3", "seed = 4"))


def _anothers(run: Path) -> None:
    manifest, text = run / "manifest.json", (run / "manifest.json").read_text()
    manifest.write_text(text.replace('"started": "2', '"started": "3'))
    _own(run)
    manifest.write_text(text)


def _of_other_images(run: Path) -> None:
    manifest, text = run / "manifest.json", (run / "manifest.json").read_text()
    manifest.write_text(text.replace('"sha256": "', '"sha256": "0'))
    _own(run)
    manifest.write_text(text)


@pytest.mark.parametrize("spoil", [_edited, _anothers, _of_other_images])
def test_no_mixture_of_two_runs_is_made(died: Path, spoil: Callable[[Path], None]) -> None:
    spoil(died)
    with pytest.raises(UserError, match="its snapshots are of another run, or its experiment"):
        unfinished(died)
    shutil.rmtree(died / "snapshots")
    assert unfinished(died)[1] is None


def test_its_own_snapshots_are_taken(died: Path) -> None:
    _own(died)
    assert unfinished(died)[1] is not None


def test_a_folder_that_may_not_be_looked_into_has_not_died_before_its_first_state(died: Path) -> None:
    (died / "snapshots").write_text("no folder")
    with pytest.raises(UserError, match="cannot be read"):
        unfinished(died)


def test_a_plugin_file_that_the_folder_names_is_run_once_the_user_names_it(
    aakit: Command, died: Path, tmp_path: Path
) -> None:
    ran_it, own = tmp_path / "ran", died / "experiment.toml"
    (tmp_path / "evil.py").write_text(f"from pathlib import Path\nPath({str(ran_it)!r}).touch()\n")
    text = own.read_text()
    own.write_text(text.replace("plugins = []\n", "") if "plugins = []" in text else text)
    own.write_text(f'plugins = ["{tmp_path / "evil.py"}"]\n' + own.read_text())
    ran = aakit("run", "--resume", died)
    assert ran.code == 2 and not ran_it.exists()
    assert f"if you trust them, name that experiment yourself: --experiment {own}" in ran.err
    other = tmp_path / "other.toml"
    other.write_text(own.read_text())
    assert "is not the run's own" in aakit("run", "--resume", died, "--experiment", other).err and not ran_it.exists()
    aakit("run", "--resume", died, "--experiment", own)
    assert ran_it.exists()
    assert "--experiment is for --resume" in aakit("run", own, "--experiment", own).err


NAMES = ["experiment.toml", "manifest.json", "metrics.json", "events.jsonl"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
def test_what_is_no_plain_file_is_neither_waited_for_nor_read_without_end(
    aakit: Command, died: Path, finished: Path, name: str, kind: str
) -> None:
    path = died / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    commands = [("report", died), ("compare", died, died / ".")]
    if name in ("experiment.toml", "events.jsonl"):  # without the others it is a run that died, and begins again
        commands.append(("run", "--resume", died))
    for command in commands:
        ran = aakit(*command)
        assert ran.code == 2 and ran.err.startswith("error: "), (command, ran.err)
