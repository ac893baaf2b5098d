"""How much memory is left: of the machine, of the groups around a process, of a device."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from aaclip_kit.distributed import available_memory as room

CPU = torch.device("cpu")


def limit(folder: Path, most: str, used: int, unused_files: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {unused_files}\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file system of control groups; this process is in /outer/inner."""
    own = tmp_path / "cgroup"
    own.write_text("0::/outer/inner\n")
    monkeypatch.setattr(room, "OWN_CGROUP", own)
    monkeypatch.setattr(room, "CGROUPS", tmp_path / "fs")
    return tmp_path / "fs"


def test_without_a_limit_it_is_the_machine_s(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(groups / "outer" / "inner", "max", 10, 0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=123_456, total=999_999))
    assert room.available_memory(CPU) == 123_456
    limit(groups / "outer" / "inner", "200000", 0, 0)
    assert room.available_memory(CPU) == 123_456, "a group may be allowed more than there is"


def test_the_tightest_group_counts_and_files_can_be_given_up(groups: Path) -> None:
    limit(groups / "outer" / "inner", "9000", 5000, 1000)
    assert room.available_memory(CPU) == 5000
    limit(groups / "outer", "6000", 5500, 100)
    assert room.available_memory(CPU) == 600
    limit(groups / "outer", "6000", 7000, 100)
    assert room.available_memory(CPU) == 0


@pytest.mark.parametrize("said", ["", "1:memory:/outer\n"])
def test_other_forms_of_groups_are_left_alone(groups: Path, said: str) -> None:
    limit(groups / "outer", "5", 1, 0)
    room.OWN_CGROUP.write_text(said)
    assert room.available_memory(CPU) > 5


def test_a_system_without_groups_has_no_limit(groups: Path) -> None:
    room.OWN_CGROUP.unlink()
    limit(groups, "5", 1, 0)
    assert room.available_memory(CPU) > 5


def test_of_a_device_what_torch_holds_unused_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 400)
    assert room.available_memory(torch.device("cuda:1")) == 1300


def printed(program: str, how: str) -> int:
    """The number that a program prints in a process of its own, whose malloc nobody has told anything."""
    return int(subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True).stdout)


FREEING = """
import sys
import numpy as np
import psutil
from aaclip_kit.distributed.available_memory import give_back_at_once

if sys.argv[1] == "at once":
    give_back_at_once()
np.ones(30_000_000, np.uint8)  # glibc keeps blocks of up to this size from now on
before = psutil.Process().memory_info().rss
held = [(np.ones(8_000_000, np.uint8), np.ones(500_000, np.uint8)) for _ in range(10)]
held = [small for _, small in held]
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep nothing, or otherwise")
def test_what_is_freed_goes_back_at_once() -> None:
    left = {how: printed(FREEING, how) for how in ("later", "at once")}
    assert left["later"] > 50e6
    assert left["at once"] < 10e6


AGAIN = """
import resource
import sys
import numpy as np
from aaclip_kit.distributed.available_memory import keep_for_later

if sys.argv[1] == "kept":
    keep_for_later()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [np.ones(15_000_000, np.uint8) for _ in range(10)]
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep what they like")
def test_what_is_kept_for_later_is_there_without_a_page_fault() -> None:
    faults = {how: printed(AGAIN, how) for how in ("by default", "kept")}
    assert faults["by default"] > 2_000
    assert faults["kept"] < 100
