"""Published checkpoints: their files, and which of their tensors is which of ours (docs/guide/checkpoints.md)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..contracts.errors import UserError, writing
from ..contracts.options import TowerName
from ..contracts.stage import ContextKind
from ..experiment import Experiment
from ..files.weights_file import pickled, read_weights, without_wrappers
from ..files.whole_file import write_whole_together
from ..model.anomaly_model import AnomalyModel
from ..model.build import build_model
from .checkpoint import check_fit, check_numbers, is_weight, made_for, wanted_by

_ADAPTER = frozenset({"linear.weight"})
_ATTENTION = frozenset(f"{layer}_proj.{kind}" for layer in ("q", "k", "v", "out") for kind in ("weight", "bias"))


@dataclass(frozen=True)
class Part:
    """A module of the published code, and how to know the stage that stands for it here."""

    tower: TowerName
    context_kind: ContextKind
    parameters: frozenset[str]


PARTS = {
    "text_adapter": Part("text", "none", _ADAPTER),
    "image_adapter": Part("vision", "none", _ADAPTER),
    "text_cross_attn": Part("text", "image", _ATTENTION),
    "image_cross_attn": Part("vision", "text", _ATTENTION),
}
"""By the name that a part has in published files. The adapters' parts hold the projections too."""

ALWAYS = ("text_adapter", "image_adapter")
"""Parts that every published checkpoint has. The others belong to the methods with cross-attention."""


def model_without_weights(experiment: Experiment) -> AnomalyModel:
    """The experiment's model as names and shapes alone: neither weights nor data are read."""
    chosen = experiment.backbone
    if "pretrained" in type(chosen.options).model_fields:
        chosen = replace(chosen, options=chosen.options.model_copy(update={"pretrained": "none"}))
    with torch.device("meta"):
        return build_model(replace(experiment, backbone=chosen), {"object": "object"})


def published_names(model: AnomalyModel, parts: Iterable[str] = PARTS) -> dict[str, str]:
    """The published name, `PART.KEY`, of our tensors, by our name. A part that no stage stands for is left out.

    Raises `UserError` where two stages could stand for a part, or one acts after other blocks than the published one.
    """
    names: dict[str, str] = {}
    for part in parts:
        stage, blocks = _stage_for(model, part)
        if part in ALWAYS:
            inside = "layer_adapters." if part == "image_adapter" else ""
            for block in range(blocks):
                names[f"sites.stages.{stage}.{block}.linear.weight"] = f"{part}.{inside}{block}.fc.0.weight"
        if part == "text_adapter":
            names["prompts.projection.weight"] = f"{part}.{blocks}.fc.0.weight"
        elif part == "image_adapter":
            # The published projection is a list of layers where it has an activation, and the layer itself where not.
            key = "fc.0.weight" if getattr(getattr(model.head, "detection", None), "activation", False) else "fc.weight"
            for number, level in enumerate(model.levels):
                names[f"head.segmentation.{level}.linear.weight"] = f"{part}.seg_proj.{number}.{key}"
            names["head.detection.linear.weight"] = f"{part}.det_proj.{key}"
        elif blocks:
            names.update({f"sites.stages.{stage}.0.{key}": f"{part}.{key}" for key in sorted(_ATTENTION)})
    return names


def to_ours(published: Mapping[str, Tensor], model: AnomalyModel, where: str) -> dict[str, Tensor]:
    """A checkpoint of ours from published tensors by `PART.KEY`.

    Raises `UserError` unless the adapters' parts are there, every tensor lands, and none of a part that is there lacks.
    """
    present = [part for part in PARTS if any(_part_of(name) == part for name in published)]
    if absent := [part for part in ALWAYS if part not in present]:
        fix = "give the files of one checkpoint together: text_adapter.pth and image_adapter_N.pth, or loop_N_final.pth"
        raise UserError(f"{' and '.join(absent)} is missing", where=where, fix=fix)
    names = published_names(model, present)
    parameters, _ = wanted_by(model, names)
    fix = "name the experiment that has the backbone, levels and stages of the published run"
    check_fit(published, {names[name]: parameters[name] for name in names}, where, fix)
    check_numbers(published, where)
    return {name: published[names[name]] for name in names}


def to_published(state: Mapping[str, Tensor], model: AnomalyModel, where: str) -> dict[str, Tensor]:
    """Published tensors by `PART.KEY`, from a checkpoint of ours.

    Raises `UserError` where it does not fit the experiment, or holds what published checkpoints have no place for.
    """
    wanted, _ = wanted_by(model, state)
    check_fit(state, wanted, where, "name the experiment that the checkpoint was trained with")
    names = published_names(model)
    if homeless := sorted(state.keys() - names.keys()):
        problem = f"{homeless[0]} has no place in a published checkpoint (tensors without one: {len(homeless)})"
        fix = "published checkpoints hold residual adapters, projections and the two cross-attention stages alone"
        raise UserError(problem, where=where, fix=fix)
    present = {_part_of(names[name]) for name in state}
    if lacking := [name for name, other in names.items() if _part_of(other) in present and name not in state]:
        problem = f"{lacking[0]} is missing, without which {_part_of(names[lacking[0]])} is not whole"
        raise UserError(problem, where=where, fix="name the experiment that the checkpoint was trained with")
    return {names[name]: value for name, value in state.items()}


def attending_towers(parts: Iterable[str]) -> tuple[TowerName, ...]:
    """Towers whose cross-attention is among the parts, and so was trained."""
    return tuple(sorted({PARTS[part].tower for part in parts if part not in ALWAYS}))


def _stage_for(model: AnomalyModel, part: str) -> tuple[str | None, int]:
    """Name and number of blocks of the stage that stands for a part; the blocks are 0, 1, ..."""
    wanted = PARTS[part]
    stages: dict[str, list[int]] = {}
    for block, name, stage in model.slots.of(wanted.tower):
        keys = {key for key, _ in stage.named_parameters()}
        if stage.context_kind == wanted.context_kind and keys == wanted.parameters:
            stages.setdefault(name, []).append(block)
    if not stages:
        return None, 0
    if len(stages) > 1:
        problem = f"each of these could be the published {part}, of which there is one"
        where = ", ".join(f"stages.{name}" for name in sorted(stages))
        raise UserError(problem, where=where, fix="name an experiment with one of them")
    ((name, blocks),) = stages.items()
    published = range(len(blocks)) if part in ALWAYS else range(1)
    if sorted(blocks) != list(published):
        first = "blocks 0, 1 and so on, none left out" if part in ALWAYS else "block 0 alone"
        problem = f"{sorted(blocks)} are not the blocks of the published {part}, which acts after {first}"
        raise UserError(problem, where=f"stages.{name}.after", fix="name the experiment of the published run")
    return name, len(blocks)


def _part_of(name: str) -> str:
    return name.partition(".")[0]


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
    files = PublishedFiles()
    for path in paths:
        for part, key, value in _entries(path, files.ignored):
            if files.sources.setdefault(part, path) != path:
                problem = f"holds {part}, as {files.sources[part]} does"
                raise UserError(problem, where=str(path), fix="give the files of one checkpoint alone")
            name = f"{part}.{key.removeprefix(f'{part}.')}"
            if name in files.tensors:
                raise UserError(f"holds {name} twice", where=str(path), fix="give a file that holds each tensor once")
            if not is_weight(value):
                raise UserError(f"{name} is no tensor of weights", where=str(path), fix="give a published checkpoint")
            files.tensors[name] = value
    return files


def write_published(tensors: Mapping[str, Tensor], folder: Path, number: int) -> list[Path]:
    """Write tensors by `PART.KEY`: AA-CLIP's two files, or one file where there is cross-attention. Returns the files.

    Raises `UserError`, and writes nothing, where one of the files exists or the folder cannot be written.
    """
    contents = {folder / name: content for name, content in _layout(tensors, number).items()}
    for path in contents:
        if path.exists():
            raise UserError("exists already", where=str(path), fix="name another folder with --out")
    made_for(folder / "file")
    with writing(folder):
        write_whole_together({path: pickled(content) for path, content in contents.items()})
    return list(contents)


def number_of(checkpoint: Path) -> int:
    """The number at the end of a checkpoint's name, as in loop_3.safetensors; else 1."""
    match = _NUMBER.search(checkpoint.stem)
    return int(match[1]) if match else 1


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
    fix, bare = "give text_adapter.pth and image_adapter_N.pth, or loop_N_final.pth", dict[str, Tensor]()
    if not path.is_file():
        raise UserError("there is no such file", where=str(path), fix=fix)
    content = read_weights(path)
    if not (isinstance(content, dict) and all(isinstance(key, str) for key in content)):
        raise UserError("holds no tensors by name", where=str(path), fix=fix)
    for name, value in content.items():
        key = without_wrappers(name)
        if key in PARTS and isinstance(value, dict):
            yield from ((key, without_wrappers(str(inner)), item) for inner, item in value.items())
        elif _BOOKKEEPING.search(key) or not _holds_tensors(value):
            ignored.append(key)
        elif isinstance(value, Tensor):
            if key in bare:
                raise UserError(f"holds {key} twice", where=str(path), fix="give a file that holds each tensor once")
            bare[key] = value
        else:
            raise _homeless(path, key)
    for key, value in bare.items():
        part, dot, rest = key.partition(".")
        yield (part, rest, value) if dot and part in PARTS else (_part_by_name(path, key), key, value)


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
