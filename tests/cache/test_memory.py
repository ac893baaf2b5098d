from __future__ import annotations

import torch

from aaclip_kit.cache.feature_store import MemoryStore

from .given import features, key


def test_features_come_back_as_they_were() -> None:
    memory = MemoryStore(10**6)
    assert memory.get(key(1)) is None
    memory.put(key(1), features(1))
    memory.put(key(2), features(2, torch.bfloat16))
    first, second = memory.get(key(1)), memory.get(key(2))
    assert first is not None and torch.equal(first, features(1))
    assert second is not None and second.dtype == torch.bfloat16 and torch.equal(second, features(2, torch.bfloat16))
    assert memory.drain() == []


def test_the_first_that_fit_stay_and_the_rest_is_told_once() -> None:
    one = features(1).nbytes
    memory = MemoryStore(2 * one + 1)
    for number in range(4):
        memory.put(key(number), features(number))
    assert [memory.get(key(number)) is not None for number in range(4)] == [True, True, False, False]
    assert memory.held == 2 * one
    (line,) = memory.drain()
    assert "is full (cache.memory_gb = " in line
    memory.put(key(9), features(9))
    assert memory.drain() == []


def test_what_is_put_twice_counts_once() -> None:
    memory = MemoryStore(2 * features(1).nbytes)
    for number in (1, 1, 1, 2):
        memory.put(key(number), features(number))
    assert memory.get(key(2)) is not None


def test_a_part_of_a_batch_keeps_neither_the_batch_nor_its_later_changes() -> None:
    batch = torch.ones(100, 5)
    memory = MemoryStore(10**6)
    memory.put(key(1), batch[3].requires_grad_())
    batch.zero_()
    found = memory.get(key(1))
    assert found is not None and found.untyped_storage().nbytes() == batch[3].nbytes
    assert not found.requires_grad
    assert found.tolist() == [1.0] * 5
