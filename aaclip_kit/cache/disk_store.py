"""Features on disk: one memory-mapped safetensors file each, shared by every run that has the folder."""

import os
import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..contracts.errors import UserError
from .folder import Entry, entries, entry_path, part_path, remove, remove_leftovers
from .keys import FORMAT
from .store import Notices

VERSION, CHECKSUM = "version", "crc32"
_FEATURES: Final = "features"


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
            found: dict[str, str] = file.metadata() or {}
            if found.get(VERSION) != about[VERSION]:
                raise UntrustedError("of another version")
            if {key: found.get(key) for key in about} != about:
                raise UntrustedError("of another backbone or image")
            features: Tensor = file.get_tensor(_FEATURES)
    except SafetensorError:
        raise UntrustedError("damaged") from None
    if verify and found.get(CHECKSUM) != checksum(features):
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

    def take(self, size: int, kept: Collection[Path]) -> bool:
        """Whether `size` bytes may be written, after removing entries used longest ago, of any backbone, if need be.

        `kept` are never removed; nothing is, where that would not be enough.
        """
        if self._free < size:
            self._free = self._make(max(size, self.step), size, kept)
        if self._free < size:
            return False
        self._free -= size
        return True

    def _make(self, wanted: int, least: int, kept: Collection[Path]) -> int:
        """Remove until `wanted` bytes are free, or nothing is left that may go; at least `least` must become free."""
        found = entries(self.folder)
        held, others = _size(found), sorted((one for one in found if one.path not in kept), key=lambda one: one.used)
        if held - _size(others) + least > self.bound:
            return 0
        for oldest in others:
            if held + wanted <= self.bound:
                break
            if not remove([oldest]):
                held -= oldest.size
        return min(self.bound - held, wanted)


def _size(found: Collection[Entry]) -> int:
    return sum(entry.size for entry in found)


class DiskStore:
    """A `FeatureStore` in `folder`, which holds at most `bound` bytes of features of any backbone.

    `identity` is that of the backbone (`backbone_identity`). Raises `UserError` for a folder that cannot be made or
    read; what goes wrong later costs features that are made again, and a line for the user.
    """

    def __init__(self, folder: Path, bound: int, identity: str) -> None:
        self.folder, self.identity = folder, identity
        self._used: set[Path] = set()
        self._verified: set[Path] = set()
        self._storing = True
        self._notices = Notices()
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
            self._notices.add(str(error), f"{path} is {error}: not used, and its features are made again")
            with suppress(OSError):
                path.unlink()
            return None
        except (OSError, RuntimeError) as error:
            if os.path.lexists(path):
                self._notices.add("unreadable", f"{path} cannot be read ({error}): its features are made again")
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
                self._write(path, packed(features, self._about(key)))
        except FileNotFoundError:
            pass  # the folder is being deleted at this moment: the next entry makes it again
        except OSError as error:
            self._stop(f"{self.folder} cannot be written ({error.strerror or error})")

    def drain(self) -> list[str]:
        """See `FeatureStore`."""
        return self._notices.drain()

    def _write(self, path: Path, content: bytes) -> None:
        if self._room.take(len(content), self._used):
            write_entry(path, content)
            self._used.add(path)
        else:
            self._stop(f"{self.folder} is full (cache.disk_gb = {self._room.bound / 1e9:g})")

    def _stop(self, reason: str) -> None:
        self._storing = False
        self._notices.add("stopped", f"{reason}: frozen features that it does not hold are made every time")

    def _about(self, key: str) -> dict[str, str]:
        return {VERSION: str(FORMAT), "identity": self.identity, "key": key}
