"""Several processes with one folder at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch

from .given import features, key, path_of, store

VIEWS = 60


def work(folder: Path, first: int) -> None:
    """Two epochs over all views, from another one in each process: what is not there is put."""
    torch.set_num_threads(1)
    disk = store(folder)
    for step in range(2 * VIEWS):
        number = (first + step) % VIEWS
        found = disk.get(key(number))
        if found is None:
            disk.put(key(number), features(number))
        elif not torch.equal(found, features(number)):
            raise AssertionError(f"view {number} is another")
    assert disk.drain() == []


@pytest.mark.slow
def test_processes_that_put_and_read_at_once_never_see_half_an_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=work, args=(tmp_path, start), daemon=True) for start in (0, 0, VIEWS // 2)]
    for process in others:
        process.start()
    for process in others:
        process.join(120)
    assert [process.exitcode for process in others] == [0, 0, 0]
    assert sorted(tmp_path.rglob("*.*")) == sorted(path_of(tmp_path, number) for number in range(VIEWS))
    disk = store(tmp_path)
    assert all(disk.get(key(number)) is not None for number in range(VIEWS))
