"""One entry of the disk store: a safetensors file that says what it is, so that no other is taken for it."""

import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .folder import part_path

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
