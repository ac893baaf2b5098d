"""Stores of frozen features: in memory, or on disk as one memory-mapped safetensors file each, which runs share."""

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..contracts.errors import UserError
from ..experiment.schema import CacheTable
from .folder import Entry, default_folder, entries, entry_path, part_path, remove, remove_leftovers
from .keys import FORMAT

VERSION, CHECKSUM = "version", "crc32"
_FEATURES: Final = "features"
_GB: Final = 1e9


class FeatureStore(ABC):
    """Features by key. A store may lose what it was given, and never gives anything else back."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._waiting: list[str] = []

    @abstractmethod
    def get(self, key: str) -> Tensor | None:
        """The features, on the CPU and bit for bit as put, not to be changed in place; None where not held."""

    @abstractmethod
    def put(self, key: str, features: Tensor) -> None:
        """Keep a copy if there is room. Never raises for want of room or a failing disk."""

    def drain(self) -> list[str]:
        """Lines for the user since the last call: full, damaged, failing; each kind at most once a run."""
        lines, self._waiting = self._waiting, []
        return lines

    def _tell(self, kind: str, line: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._waiting.append(line)


class MemoryStore(FeatureStore):
    """A `FeatureStore` of at most `bound` bytes of features: what comes first stays.

    An epoch uses each view once, so the view used longest ago is the next that is wanted: nothing is gained by
    removing it for another.
    """

    def __init__(self, bound: int) -> None:
        super().__init__()
        self.bound, self.held = bound, 0
        self._features: dict[str, Tensor] = {}

    def get(self, key: str) -> Tensor | None:
        """See `FeatureStore`."""
        return self._features.get(key)

    def put(self, key: str, features: Tensor) -> None:
        """See `FeatureStore`."""
        if key in self._features:
            return
        if self.held + features.nbytes > self.bound:
            full = f"the memory for frozen features is full (cache.memory_gb = {self.bound / 1e9:g})"
            return self._tell("full", f"{full}: those that it does not hold are made every time")
        # A copy, since a part of a batch would keep the whole batch in memory.
        self._features[key] = features.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        self.held += features.nbytes


class UntrustedError(Exception):
    """An entry that is not what its place says; the message says in what way."""


def packed(features: Tensor, about: Mapping[str, str]) -> bytes:
    """The content of an entry's file. `about` says what it is, with the store's version under `VERSION`."""
    features = features.detach().cpu().contiguous()
    return save({_FEATURES: features}, {**about, CHECKSUM: checksum(features)})


def write_entry(path: Path, content: bytes) -> None:
    """Write beside and rename, so that nobody sees half an entry. Raises OSError, and then leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = part_path(path)
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def read_entry(path: Path, about: Mapping[str, str], verify: bool) -> Tensor:
    """The features, mapped from the file: it may be deleted while they are in use.

    Raises `UntrustedError` for a file that is damaged or is not what `about` says, FileNotFoundError where there is
    none, OSError or RuntimeError where it cannot be read. Checksums are compared where `verify` is true.
    """
    try:
        with safe_open(path, framework="pt") as file:
            stored: dict[str, str] = file.metadata() or {}
            if stored.get(VERSION) != about[VERSION]:
                raise UntrustedError("of another version")
            if {key: stored.get(key) for key in about} != about:
                raise UntrustedError("of another backbone or image")
            features: Tensor = file.get_tensor(_FEATURES)
    except SafetensorError:
        raise UntrustedError("damaged") from None
    if verify and stored.get(CHECKSUM) != checksum(features):
        raise UntrustedError("damaged")
    return features


def checksum(features: Tensor) -> str:
    """CRC-32 of the bytes of a contiguous CPU tensor, eight hexadecimal digits."""
    return f"{zlib.crc32(features.reshape(-1).view(torch.uint8).numpy().data):08x}"


class Room:
    """Bytes that may be added to `folder` before it exceeds `bound`.

    Other runs write there too, so the folder is looked at again after each twentieth of the bound: so much is the most
    by which each run that writes at the same time can exceed it. Raises OSError where the folder cannot be read.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        self.folder, self.bound, self.step = folder, bound, bound // 20
        self._free = min(bound - _size(entries(folder)), self.step)

    def take(self, size: int, in_use: Collection[Path]) -> bool:
        """Return whether `size` bytes may be written, after removing entries used longest ago, of any backbone.

        Those `in_use` are never removed; nothing is, where that would not be enough.
        """
        if self._free < size:
            self._free = self._make(max(size, self.step), size, in_use)
        if self._free < size:
            return False
        self._free -= size
        return True

    def _make(self, wanted: int, least: int, in_use: Collection[Path]) -> int:
        """Remove until `wanted` bytes are free, or nothing is left that may go; at least `least` must become free."""
        stored = entries(self.folder)
        held, others = _size(stored), sorted((e for e in stored if e.path not in in_use), key=lambda e: e.used)
        if held - _size(others) + least > self.bound:
            return 0
        for oldest in others:
            if held + wanted <= self.bound:
                break
            if not remove([oldest]):
                held -= oldest.size
        return min(self.bound - held, wanted)


def _size(stored: Collection[Entry]) -> int:
    return sum(entry.size for entry in stored)


class DiskStore(FeatureStore):
    """A `FeatureStore` in `folder`, which holds at most `bound` bytes of features of any backbone.

    `identity` is that of the backbone (`backbone_identity`). Raises `UserError` for a folder that cannot be made or
    read; what goes wrong later costs features that are made again, and a line for the user.
    """

    def __init__(self, folder: Path, bound: int, identity: str) -> None:
        super().__init__()
        self.folder, self.identity, self._storing = folder, identity, True
        self._used: set[Path] = set()
        self._verified: set[Path] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            self._room = Room(folder, bound)
        except OSError as error:
            problem = f"{folder} cannot hold frozen features: {error.strerror or error}"
            fix = 'name a folder that you may write, or set cache.features = "memory"'
            raise UserError(problem, where="cache.folder", fix=fix) from None

    def get(self, key: str) -> Tensor | None:
        """See `FeatureStore`."""
        path = entry_path(self.folder, self.identity, key)
        try:
            features = read_entry(path, self._about(key), verify=path not in self._verified)
        except UntrustedError as error:
            self._tell(str(error), f"{path} is {error}: not used, and its features are made again")
            with suppress(OSError):
                path.unlink()
            return None
        except (OSError, RuntimeError) as error:
            if os.path.lexists(path):
                self._tell("unreadable", f"{path} cannot be read ({error}): its features are made again")
            return None
        self._verified.add(path)
        if path not in self._used:
            self._used.add(path)
            with suppress(OSError):
                os.utime(path)
        return features

    def put(self, key: str, features: Tensor) -> None:
        """See `FeatureStore`."""
        path = entry_path(self.folder, self.identity, key)
        try:
            if self._storing and not os.path.lexists(path):
                content = packed(features, self._about(key))
                if self._room.take(len(content), self._used):
                    write_entry(path, content)
                    self._used.add(path)
                else:
                    self._stop(f"{self.folder} is full (cache.disk_gb = {self._room.bound / 1e9:g})")
        except FileNotFoundError:
            pass  # the folder is being deleted at this moment: the next entry makes it again
        except OSError as error:
            self._stop(f"{self.folder} cannot be written ({error.strerror or error})")

    def _stop(self, reason: str) -> None:
        self._storing = False
        self._tell("stopped", f"{reason}: frozen features that it does not hold are made every time")

    def _about(self, key: str) -> dict[str, str]:
        return {VERSION: str(FORMAT), "identity": self.identity, "key": key}


def open_store(table: CacheTable, identity: Callable[[], str]) -> FeatureStore | None:
    """The store that the table asks for; None for "off".

    `identity` gives the backbone's, and is called for a store on disk alone. Raises `UserError` where its folder cannot
    be made or read.
    """
    if table.features == "off":
        return None
    if table.features == "memory":
        return MemoryStore(int(table.memory_gb * _GB))
    # Absolute, since the program may change its folder while the store is open.
    folder = (table.folder or default_folder()).absolute()
    return DiskStore(folder, int(table.disk_gb * _GB), identity())
