from __future__ import annotations

import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aaclip_kit.doctor import machine as module
from aaclip_kit.doctor.machine import cuda, driver_version


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


@pytest.mark.parametrize(
    ("driver", "build", "status", "words"),
    [
        (None, None, "good", "no NVIDIA driver, torch built without CUDA"),
        (None, "13.0", "note", "torch is built for CUDA 13.0, but there is no NVIDIA driver"),
        ("550.54", None, "note", "driver 550.54 is there, but torch is built without CUDA"),
        ("550.54", "13.0", "bad", "but cannot use it: driver too old"),
    ],
)
def test_driver_against_build(
    no_device: pytest.MonkeyPatch, driver: str | None, build: str | None, status: str, words: str
) -> None:
    def init() -> None:
        raise RuntimeError("driver too old\nmore")

    no_device.setattr(torch.cuda, "init", init)
    no_device.setattr(torch.version, "cuda", build)
    no_device.setattr(module, "driver_version", lambda: driver)
    (found,) = cuda()
    assert (found.name, found.status) == ("cuda", status)
    assert words in found.found
    assert (found.advice is None) == (status == "good")


def test_devices_that_are_hidden_are_no_fault(no_device: pytest.MonkeyPatch) -> None:
    no_device.setattr(torch.cuda, "init", lambda: None)
    no_device.setattr(torch.version, "cuda", "13.0")
    no_device.setattr(module, "driver_version", lambda: "580.1")
    no_device.setenv("CUDA_VISIBLE_DEVICES", "")
    (found,) = cuda()
    assert found.status == "note" and 'CUDA_VISIBLE_DEVICES is ""' in found.found
    no_device.setenv("CUDA_VISIBLE_DEVICES", "0")
    (found,) = cuda()
    assert found.status == "bad" and "no device" in found.found


class Ones:
    """A product of ones of side 64 that a device gets right, or not."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __matmul__(self, other: Ones) -> torch.Tensor:
        return torch.full((64, 64), float(self.value))


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One device that works: 80 GB, 60 of them free, with bf16."""
    facts = SimpleNamespace(name="NVIDIA H100", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: facts)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (int(60e9), int(80e9)))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch, "ones", lambda *sides, device: Ones(64))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(module, "driver_version", lambda: "580.1")
    return monkeypatch


WORDS = "NVIDIA H100, 60.0 of 80.0 GB free, compute capability 9.0"


def test_a_device_that_works(card: pytest.MonkeyPatch) -> None:
    whole, one = cuda()
    assert (whole.status, whole.found) == ("good", "driver 580.1, torch built for CUDA 13.0")
    assert (one.name, one.status, one.found) == ("cuda:0", "good", f"{WORDS}, bf16")


def test_a_device_without_bf16_of_its_own_is_a_note(card: pytest.MonkeyPatch) -> None:
    card.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert list(cuda())[1].status == "note"


def test_a_device_that_miscalculates_is_bad(card: pytest.MonkeyPatch) -> None:
    card.setattr(torch, "ones", lambda *sides, device: Ones(63))
    one = list(cuda())[1]
    assert one.status == "bad" and one.found.startswith(WORDS)


def test_a_device_that_does_not_compute_is_bad_and_the_others_are_looked_at(card: pytest.MonkeyPatch) -> None:
    def ones(*sides: int, device: str) -> Ones:
        if device == "cuda:0":
            raise RuntimeError("CUDA error: no kernel image is available\nCompile with")
        return Ones(64)

    card.setattr(torch, "ones", ones)
    card.setattr(torch.cuda, "device_count", lambda: 2)
    _, first, second = cuda()
    assert (first.name, first.status) == ("cuda:0", "bad")
    assert first.found == "does not compute: RuntimeError: CUDA error: no kernel image is available"
    assert (second.name, second.status) == ("cuda:1", "good")


MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A kernel module 550.54.15, and no nvidia-smi."""
    (tmp_path / "version").write_text(MODULE)
    monkeypatch.setattr(module, "KERNEL_MODULE", tmp_path / "version")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return monkeypatch


def smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(tool) if name == "nvidia-smi" else None)


def test_the_driver_tells_its_version(driver: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi(driver, tmp_path, "echo 580.95.05; echo 580.95.05")
    assert driver_version() == "580.95.05"


@pytest.mark.parametrize("script", ["exit 9", "exec sleep 30", "true"])
def test_a_tool_that_fails_or_hangs_leaves_the_kernel_to_tell(
    driver: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    driver.setattr(module, "_PATIENCE", 0.5)
    smi(driver, tmp_path, script)
    assert driver_version() == "550.54.15"


def test_no_driver(driver: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "version").unlink()
    assert driver_version() is None


def test_without_the_tool_no_process_is_started(driver: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("started")

    driver.setattr(subprocess, "run", refuse)
    assert driver_version() == "550.54.15"
