"""Checkpoints: the trained tensors of a model, by name. Weights only; nothing in them runs code."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts.errors import UserError, in_short, writing
from ..files.weights_file import as_safetensors, pickled, read_weights
from ..files.whole_file import write_whole, write_whole_together
from ..model.anomaly_model import AnomalyModel
from .provenance import WHICH, Metadata, beside_pickle

_PRECISIONS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def trained_state(model: AnomalyModel) -> dict[str, Tensor]:
    """Every trained tensor, on the CPU."""
    return {name: value.detach().cpu().contiguous() for name, value in model.all_trained_parameters().items()}


def save(model: AnomalyModel, path: Path, metadata: Metadata) -> None:
    """Write the trained tensors; see `write`."""
    write(trained_state(model), path, metadata)


def write(state: Mapping[str, Tensor], path: Path, metadata: Metadata) -> None:
    """Write a checkpoint that is whole or absent.

    A `.pth` path gives a pickle of tensors, which has no room for metadata: they go into a JSON file beside it.
    """
    if path.suffix == ".safetensors":
        write_whole(path, as_safetensors(state, metadata.as_strings()))
        return
    about = json.dumps(metadata.as_strings(), indent=2)
    write_whole_together({beside_pickle(path): about, path: pickled(state)})


def made_for(path: Path) -> None:
    """Make the folder of a file. Raises `UserError` where that cannot be."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint. Raises `UserError` for a file that is missing, damaged or holds more than tensors."""
    if not path.is_file():
        raise UserError("there is no such checkpoint", where=str(path), fix=WHICH)
    state = read_weights(path)
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not (named and all(isinstance(value, Tensor) for value in state.values())):
        fix = "give an aaclip_kit checkpoint; aakit import-checkpoint makes one of published files"
        raise UserError("holds no plain table of tensors", where=str(path), fix=fix)
    return {_present_name(name): value for name, value in state.items()}


def _present_name(name: str) -> str:
    """The name that a tensor has now: version 0.2 had the prompts' projection among the heads."""
    for old, new in (("heads.text.linear.", "prompts.projection."), ("heads.", "head.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def load_into(model: AnomalyModel, path: Path) -> list[str]:
    """Load a checkpoint; returns the stages that it lacks entirely, which start fresh.

    Raises `UserError`, and changes nothing, where a tensor is missing, is left over, has another shape, or holds
    anything but finite floating-point numbers.
    """
    tensors = read(path)
    wanted, fresh = wanted_by(model, tensors)
    fix = "use the backbone, levels and stage names that the checkpoint was trained with"
    check_fit(tensors, wanted, str(path), fix)
    check_numbers(tensors, str(path))
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])
    return fresh


def wanted_by(model: AnomalyModel, names: Iterable[str]) -> tuple[dict[str, nn.Parameter], list[str]]:
    """Parameters that a checkpoint with the names `names` must give, and the stages that it lacks entirely."""
    parameters = model.all_trained_parameters()
    fresh = {stage for name in parameters if (stage := _stage_of(name))} - {_stage_of(name) for name in names}
    return {name: value for name, value in parameters.items() if _stage_of(name) not in fresh}, sorted(fresh)


def check_fit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str, fix: str) -> None:
    """Raise `UserError` unless `tensors` has the names and shapes of `wanted`, and no others."""
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - tensors.keys())]
    faults += [f"{name} has no place in this experiment" for name in sorted(tensors.keys() - wanted.keys())]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, this experiment needs {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    if faults:
        raise UserError(f"does not fit: {in_short(faults, 3, '; ')}", where=where, fix=fix)


def check_numbers(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise `UserError` for a tensor that no weights can be: of whole or complex numbers, sparse, not finite."""
    for name, value in tensors.items():
        if not is_weight(value):
            problem = f"{name} is no tensor of weights: it is {value.dtype}, {value.layout}, on {value.device}"
            raise UserError(problem, where=where, fix="give weights in 16 or 32 bits")
        if not torch.isfinite(value).all():
            fix = "give a checkpoint of a run that did not diverge"
            raise UserError(f"{name} holds numbers that are not finite", where=where, fix=fix)


def is_weight(value: Any) -> bool:
    """Whether a value is a plain tensor of floating-point numbers, in one of torch's usual precisions."""
    plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return plain and value.dtype in _PRECISIONS


def _stage_of(name: str) -> str | None:
    return name.split(".")[2] if name.startswith("sites.stages.") else None
