"""The files of published checkpoints: AA-CLIP's two, and the one dict of the method with feedback loops."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..contracts.errors import UserError, not_writable
from ..files.weights_file import pickled, read_weights
from ..files.whole_file import write_whole_together
from .checkpoint import is_weight, made_for
from .published_layout import ALWAYS, PARTS

_BOOKKEEPING = re.compile("optim|sched|scaler|rng|random", re.IGNORECASE)
"""Entries whose tensors are state of the training, not of the model."""

_VISION_KEYS = ("layer_adapters.", "seg_proj.", "det_proj.")
_TEXT_KEY = re.compile(r"\d+\.fc\.")
_NUMBER = re.compile(r"_(\d+)$")


@dataclass
class PublishedFiles:
    """Tensors by `PART.KEY`, the file that each part came from, and entries that were passed over."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


def read_published(paths: Sequence[Path]) -> PublishedFiles:
    """Read the files of one checkpoint: dicts of state dicts, or bare state dicts, with or without the part's prefix.

    Raises `UserError` for a file that cannot be read as weights only, for tensors of no known part, and for a part that
    two files hold.
    """
    found = PublishedFiles()
    for path in paths:
        for part, key, value in _entries(path, found.ignored):
            if found.sources.setdefault(part, path) != path:
                problem = f"holds {part}, as {found.sources[part]} does"
                raise UserError(problem, where=str(path), fix="give the files of one checkpoint alone")
            name = f"{part}.{key.removeprefix(f'{part}.')}"
            if name in found.tensors:
                raise UserError(f"holds {name} twice", where=str(path), fix="give a file that holds each tensor once")
            if not is_weight(value):
                raise UserError(f"{name} is no tensor of weights", where=str(path), fix="give a published checkpoint")
            found.tensors[name] = value
    return found


def write_published(tensors: Mapping[str, Tensor], folder: Path, number: int) -> list[Path]:
    """Write tensors by `PART.KEY`: AA-CLIP's two files, or one file where there is cross-attention. Returns the files.

    Raises `UserError`, and writes nothing, where one of the files exists or the folder cannot be written.
    """
    contents = {folder / name: content for name, content in _layout(tensors, number).items()}
    for path in contents:
        if path.exists():
            raise UserError("exists already", where=str(path), fix="name another folder with --out")
    made_for(folder / "file")
    try:
        write_whole_together({path: pickled(content) for path, content in contents.items()})
    except OSError as error:
        raise not_writable(folder, error) from None
    return list(contents)


def number_of(checkpoint: Path) -> int:
    """The number at the end of a checkpoint's name, as in loop_3.safetensors; else 1."""
    found = _NUMBER.search(checkpoint.stem)
    return int(found[1]) if found else 1


def _layout(tensors: Mapping[str, Tensor], number: int) -> dict[str, dict[str, Any]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, key = name.partition(".")
        parts.setdefault(part, {})[key] = value
    if parts.keys() > set(ALWAYS):
        return {f"loop_{number}_final.pth": {part: parts[part] for part in PARTS if part in parts}}
    # AA-CLIP's test script takes every image_adapter_*.pth, and reads its epoch.
    return {
        "text_adapter.pth": {"epoch": number, "text_adapter": parts["text_adapter"]},
        f"image_adapter_{number}.pth": {"epoch": number, "image_adapter": parts["image_adapter"]},
    }


def _entries(path: Path, ignored: list[str]) -> Iterator[tuple[str, str, Any]]:
    """(part, key, value) of each entry of each state dict of a file."""
    bare: dict[str, Tensor] = {}
    for key, value in _content(path).items():
        if key in PARTS and isinstance(value, dict):
            yield from ((key, str(name), item) for name, item in value.items())
        elif _BOOKKEEPING.search(key) or not _holds_tensors(value):
            ignored.append(key)
        elif isinstance(value, Tensor):
            bare[key] = value
        else:
            raise _homeless(path, key)
    for key, value in bare.items():
        part, dot, rest = key.partition(".")
        yield (part, rest, value) if dot and part in PARTS else (_part_by_name(path, key), key, value)


def _content(path: Path) -> dict[str, Any]:
    fix = "give text_adapter.pth and image_adapter_N.pth, or loop_N_final.pth"
    if not path.is_file():
        raise UserError("there is no such file", where=str(path), fix=fix)
    content = read_weights(path)
    if not (isinstance(content, dict) and all(isinstance(key, str) for key in content)):
        raise UserError("holds no tensors by name", where=str(path), fix=fix)
    return content


def _part_by_name(path: Path, key: str) -> str:
    """The part that a bare tensor belongs to: by its own name, else by the file's."""
    if key.startswith(_VISION_KEYS):
        return "image_adapter"
    if _TEXT_KEY.match(key):
        return "text_adapter"
    for part in PARTS:
        if path.stem.startswith(part):
            return part
    raise _homeless(path, key)


def _homeless(path: Path, key: str) -> UserError:
    problem = f"'{key}' holds tensors that belong to none of {', '.join(PARTS)}"
    return UserError(problem, where=str(path), fix="give a published checkpoint of AA-CLIP or of its feedback loops")


def _holds_tensors(value: Any) -> bool:
    waiting, seen = [value], set[int]()
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            return True
        if id(item) in seen:  # a pickle can hold a list that holds itself
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)
    return False
