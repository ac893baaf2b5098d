"""Snapshots: whole or absent, the last two kept, and never trusted when damaged."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aaclip_kit import UserError
from aaclip_kit.run.snapshot import DamagedError, Snapshot, newest, read_snapshot, snapshots, write_snapshot


def snapshot(number: int) -> Snapshot:
    generator = torch.Generator().manual_seed(number)
    tensors = {"weight": torch.randn(4, 5, generator=generator), "random": torch.arange(9, dtype=torch.uint8)}
    # A tensor that shares memory with another one, and a number that is not finite.
    tensors["same"] = tensors["weight"]
    tensors["odd"] = torch.tensor([float("nan"), float("inf"), -0.0])
    return Snapshot(tensors, {"step": number, "rate": 0.1, "name": "ü", "none": None})


def same(one: Snapshot, other: Snapshot) -> bool:
    return one.state == other.state and one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(value.view(torch.uint8), other.tensors[name].view(torch.uint8))
        for name, value in one.tensors.items()
    )  # fmt: skip


def test_what_is_written_comes_back_bit_for_bit_and_the_last_two_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    assert newest(folder) == (None, [])
    for number in range(1, 13):
        write_snapshot(folder, snapshot(number))
        found, lines = newest(folder)
        assert found is not None and same(found, snapshot(number)) and not lines
    assert [path.name for path in sorted(folder.iterdir())] == ["00000011.snapshot", "00000012.snapshot"]


@pytest.mark.parametrize("how", ["cut", "empty", "one bit", "header", "other file", "gone state"])
def test_a_damaged_one_is_named_and_the_one_before_it_is_used(tmp_path: Path, how: str) -> None:
    for number in (1, 2):
        write_snapshot(tmp_path, snapshot(number))
    last = snapshots(tmp_path)[-1]
    content = bytearray(last.read_bytes())
    if how == "one bit":
        content[-1] ^= 1
    damaged: dict[str, bytes | bytearray] = {
        "cut": content[:-3], "empty": b"", "one bit": content,
        "header": content.replace(b'\\"step\\": 2', b'\\"step\\": 3'),
        "other file": b"not a snapshot at all", "gone state": content.replace(b'"state"', b'"stale"'),
    }  # fmt: skip
    changed = damaged[how]
    assert bytes(changed) != last.read_bytes()
    last.write_bytes(changed)
    with pytest.raises(DamagedError):
        read_snapshot(last)
    found, (line,) = newest(tmp_path)
    assert found is not None and same(found, snapshot(1))
    assert str(last) in line and "the one before it is" in line


def test_where_all_are_damaged_nothing_is_guessed(tmp_path: Path) -> None:
    for number in (1, 2):
        write_snapshot(tmp_path, snapshot(number)).write_bytes(b"")
    with pytest.raises(UserError, match="none of its snapshots is whole"):
        newest(tmp_path)


def test_a_disk_that_fills_up_in_the_middle_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_snapshot(tmp_path, snapshot(1))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_snapshot(tmp_path, snapshot(2))
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.snapshot"]
    write_snapshot(tmp_path, snapshot(2))
    found, _ = newest(tmp_path)
    assert found is not None and same(found, snapshot(2))


DIES = """
import os, sys
from pathlib import Path
from aaclip_kit.run import snapshot
from tests.run.test_snapshot import snapshot as made

def die(descriptor):
    os.kill(os.getpid(), 9)

if sys.argv[2] == "flushing":
    os.fsync = die
else:
    Path.replace = lambda self, target: die(0)
snapshot.write_snapshot(Path(sys.argv[1]), made(2))
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["flushing", "renaming"])
def test_a_process_that_is_killed_while_it_saves_leaves_the_earlier_one(tmp_path: Path, when: str) -> None:
    write_snapshot(tmp_path, snapshot(1))
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", DIES, str(tmp_path), when], cwd=root).returncode == -9
    assert list(tmp_path.glob("*.part")), "it died in the middle"
    found, lines = newest(tmp_path)
    assert found is not None and same(found, snapshot(1)) and not lines
    write_snapshot(tmp_path, snapshot(2))
    assert not list(tmp_path.glob("*.part"))
