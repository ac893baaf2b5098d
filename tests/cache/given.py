"""Keys, features and stores for the tests of the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from aaclip_kit.cache.feature_store import DiskStore
from aaclip_kit.cache.folder import entry_path

MINE, OTHER = "a" * 64, "b" * 64
"""Identities of two backbones."""

ROOMY = 10**9


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def features(number: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(5, 7, generator=torch.Generator().manual_seed(number)).to(dtype)


def store(folder: Path, bound: int = ROOMY, identity: str = MINE) -> DiskStore:
    return DiskStore(folder, bound, identity)


def path_of(folder: Path, number: int, identity: str = MINE) -> Path:
    return entry_path(folder, identity, key(number))


def size_of_entry(folder: Path) -> int:
    """Bytes that the file of one entry takes."""
    store(folder).put(key(0), features(0))
    return path_of(folder, 0).stat().st_size
