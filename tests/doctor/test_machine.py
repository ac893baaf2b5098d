from __future__ import annotations

import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from aaclip_kit.distributed import available_memory as room
from aaclip_kit.doctor import machine as module
from aaclip_kit.doctor.machine import matmul_rate, memory, processor


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four cores, a known rate, no OMP_NUM_THREADS."""
    monkeypatch.setattr(module, "usable_cores", lambda: 4)
    monkeypatch.setattr(module, "matmul_rate", lambda: 123.4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("threads", "given", "status", "advice"),
    [
        (4, None, "good", None),
        (4, "4", "good", None),
        (2, None, "good", None),  # torch leaves out the second threads of cores by itself
        (1, "1", "note", "unset OMP_NUM_THREADS (it is 1)"),
        (8, None, "note", "set OMP_NUM_THREADS=4"),
    ],
)
def test_cores_against_threads(
    machine: pytest.MonkeyPatch, threads: int, given: str | None, status: str, advice: str | None
) -> None:
    machine.setattr(torch, "get_num_threads", lambda: threads)
    if given:
        machine.setenv("OMP_NUM_THREADS", given)
    (found,) = processor()
    assert (found.status, found.found) == (status, f"cores: 4, torch's threads: {threads}, 123 GFLOP/s in float32")
    assert found.advice is None if advice is None else advice in str(found.advice)


def test_the_rate_is_that_of_the_best_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEASURING", 1.0)
    moments = iter([0.0, 0.0, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0])
    monkeypatch.setattr(module, "perf_counter", lambda: next(moments))
    assert matmul_rate(side=100) == pytest.approx(2 * 100**3 / 0.25 / 1e9)


def given_memory(monkeypatch: pytest.MonkeyPatch, free: float, within: float) -> None:
    whole = SimpleNamespace(total=16e9, available=free * 1e9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: whole)
    monkeypatch.setattr(room, "available_memory", lambda device: int(within * 1e9))


@pytest.mark.parametrize(
    ("free", "within", "status", "words"),
    [
        (9, 9, "good", "9.0 of 16.0 GB free"),
        (9, 3, "good", "9.0 of 16.0 GB free, and 3.0 GB left within this process's limit"),
        (9, 1, "note", "9.0 of 16.0 GB free, and 1.0 GB left within this process's limit"),
        (1.5, 1.5, "note", "1.5 of 16.0 GB free"),
    ],
)
def test_free_memory(monkeypatch: pytest.MonkeyPatch, free: float, within: float, status: str, words: str) -> None:
    given_memory(monkeypatch, free, within)
    (found,) = memory()
    assert (found.status, found.found) == (status, words)
    assert (found.advice is None) == (status == "good")


@pytest.mark.parametrize(("free", "status"), [(9, "good"), (1, "note")])
def test_memory_is_told_without_torch_too(monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    given_memory(monkeypatch, free, 0.5)
    monkeypatch.setitem(sys.modules, "torch", None)
    (found,) = memory()
    assert (found.status, found.found) == (status, f"{free}.0 of 16.0 GB free")
