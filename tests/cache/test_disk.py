from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from aaclip_kit.cache import feature_store as entry
from aaclip_kit.contracts.errors import UserError

from .given import MINE, OTHER, features, key, path_of, store


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_another_run_gets_the_same_bits(tmp_path: Path, dtype: torch.dtype) -> None:
    values = features(1, dtype)
    values[0, :3] = torch.tensor([float("nan"), float("-inf"), -0.0], dtype=dtype)
    store(tmp_path).put(key(1), values)
    found = store(tmp_path).get(key(1))
    assert found is not None and found.dtype == dtype and found.shape == values.shape
    assert torch.equal(found.view(torch.int32 if dtype == torch.float32 else torch.int16),
                       values.view(torch.int32 if dtype == torch.float32 else torch.int16))  # fmt: skip


def test_what_is_not_held_is_none(tmp_path: Path) -> None:
    disk = store(tmp_path)
    disk.put(key(1), features(1))
    assert disk.get(key(2)) is None
    assert store(tmp_path, identity=OTHER).get(key(1)) is None
    assert disk.drain() == []


def test_parts_of_a_batch_and_transposed_features_are_stored_as_they_look(tmp_path: Path) -> None:
    disk, batch = store(tmp_path), torch.arange(24.0).reshape(2, 3, 4).requires_grad_()
    disk.put(key(1), batch[1])
    disk.put(key(2), batch[0].T)
    first, second = disk.get(key(1)), disk.get(key(2))
    assert first is not None and torch.equal(first, batch[1])
    assert second is not None and torch.equal(second, batch[0].T)
    assert path_of(tmp_path, 1).stat().st_size < 1000


def test_an_entry_is_one_file_in_its_place_and_nothing_else_is_left(tmp_path: Path) -> None:
    store(tmp_path).put(key(1), features(1))
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [Path(MINE[:16]) / key(1)[:2] / f"{key(1)}.safetensors"]


def test_features_stay_whole_though_their_file_is_deleted(tmp_path: Path) -> None:
    large = torch.arange(1_000_000.0)
    store(tmp_path).put(key(1), large)
    disk = store(tmp_path)
    disk.get(key(1))  # the checksum is compared now, so that the next reading touches no page
    found = disk.get(key(1))
    path_of(tmp_path, 1).unlink()
    assert found is not None and torch.equal(found, large)
    assert disk.get(key(1)) is None
    disk.put(key(1), large)
    assert disk.get(key(1)) is not None
    assert disk.drain() == []


def test_features_are_mapped_and_not_read(tmp_path: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs the list of mappings that Linux has")
    store(tmp_path).put(key(1), features(1))
    found = store(tmp_path).get(key(1))
    assert str(path_of(tmp_path, 1)) in maps.read_text()
    del found
    assert str(path_of(tmp_path, 1)) not in maps.read_text()


def test_the_checksum_is_computed_on_the_first_reading_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path).put(key(1), features(1))
    calls, real = list[Any](), entry.checksum

    def counted(found: Any) -> Any:
        calls.append(found)
        return real(found)

    monkeypatch.setattr(entry, "checksum", counted)
    disk = store(tmp_path)
    for _ in range(3):
        assert disk.get(key(1)) is not None
    assert len(calls) == 1


def test_a_folder_that_is_a_file_or_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError) as caught:
            store(folder)
        assert caught.value.where == "cache.folder"
        assert str(folder) in caught.value.problem
