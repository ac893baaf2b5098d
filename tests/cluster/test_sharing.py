"""Two commands on one study at once, in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import counted, started


@pytest.mark.slow
def test_two_ablations_on_one_folder_do_each_run_once_and_refuse_nobody(study: Path, tmp_path: Path) -> None:
    arguments = ("ablate", study, "--out", "out", "--seeds", 1)
    both = [started(*arguments, cwd=tmp_path, AAKIT_SLOW="0.2") for _ in range(2)]
    said = [process.communicate(timeout=400) for process in both]
    for process, (out, err) in zip(both, said, strict=True):
        assert process.returncode == 0, err + out
    processes = [line.split()[0] for line in counted(tmp_path)]
    assert len(processes) == len(set(processes)) == 2, "each has trained one variant"
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert list(record["differences"]) == ["attending", "unattended"]
    assert any("written: " in out for out, _ in said)
    assert all("written: " in out or "are left to other processes" in out for out, _ in said)
    alone = started(*arguments, cwd=tmp_path)
    alone.communicate(timeout=400)
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == record
