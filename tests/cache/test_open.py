from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit.cache.feature_store import DiskStore, MemoryStore, open_store
from aaclip_kit.experiment.schema import CacheTable

from .given import MINE, features, key


def refuse() -> str:
    raise AssertionError("the weights were read for nothing")


def test_off_is_no_store() -> None:
    assert open_store(CacheTable(features="off"), refuse) is None


def test_the_default_is_memory_within_its_bound() -> None:
    found = open_store(CacheTable(memory_gb=0.5), refuse)
    assert isinstance(found, MemoryStore)
    assert found.bound == 500_000_000
    assert isinstance(open_store(CacheTable(), refuse), MemoryStore)


def test_disk_uses_its_folder_bound_and_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = CacheTable(features="disk", folder=Path("here"), disk_gb=1e-6)
    found = open_store(table, lambda: MINE)
    assert isinstance(found, DiskStore)
    monkeypatch.chdir("/")
    for number in range(4):
        found.put(key(number), features(number))
    assert 1 <= len(list((tmp_path / "here" / MINE[:16]).rglob("*.safetensors"))) < 4
    assert "cache.disk_gb = 1e-06" in found.drain()[0]


def test_disk_has_a_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAKIT_CACHE", str(tmp_path))
    open_store(CacheTable(features="disk"), lambda: MINE)
    assert (tmp_path / "features").is_dir()
