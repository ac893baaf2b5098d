"""Checkpoints: the trained tensors of a detector, by name. Weights only; nothing in them runs code."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..contracts.errors import UserError
from .detector import Detector

FORMAT = "aaclip_kit checkpoint 1"


def trained_state(detector: Detector) -> dict[str, Tensor]:
    """Every trained tensor, on the CPU."""
    names = {**detector.trained_parameters("text"), **detector.trained_parameters("vision")}
    return {name: parameter.detach().cpu().contiguous() for name, parameter in names.items()}


def save(detector: Detector, path: Path, about: dict[str, Any]) -> None:
    """Write beside and rename, so that a checkpoint is whole or absent. A `.pth` path gives a pickle of tensors."""
    beside = path.with_name(path.name + ".part")
    state = trained_state(detector)
    if path.suffix == ".safetensors":
        save_file(state, beside, metadata={"format": FORMAT, "about": json.dumps(about)})
    else:
        torch.save(state, beside)
    beside.replace(path)


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint. Raises `UserError` for a file that is missing, damaged or holds more than tensors."""
    if not path.is_file():
        raise UserError("there is no such checkpoint", where=str(path), fix="give a checkpoints/loop_N.safetensors")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"cannot be read: {reason}", where=str(path), fix="give a whole file that holds weights only"
        ) from None
    if not (isinstance(state, dict) and all(_is_named_tensor(*item) for item in state.items())):
        raise UserError("holds no plain table of tensors", where=str(path), fix="give an aaclip_kit checkpoint")
    return state


def _is_named_tensor(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def load_into(detector: Detector, path: Path) -> list[str]:
    """Load a checkpoint; returns the stages that it lacks entirely, which start fresh.

    Raises `UserError`, and changes nothing, where a tensor is missing, is left over or has another shape.
    """
    found = read(path)
    wanted = {**detector.trained_parameters("text"), **detector.trained_parameters("vision")}
    fresh = _absent_stages(wanted.keys(), found.keys())
    needed = {name for name in wanted if _stage_of(name) not in fresh}
    faults = [f"{name} is missing" for name in sorted(needed - found.keys())]
    faults += [f"{name} has no place in this experiment" for name in sorted(found.keys() - wanted.keys())]
    faults += [
        f"{name} is {tuple(found[name].shape)}, this experiment needs {tuple(wanted[name].shape)}"
        for name in sorted(needed & found.keys())
        if found[name].shape != wanted[name].shape
    ]
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        fix = "use the backbone, levels and stage names that the checkpoint was trained with"
        raise UserError(f"does not fit: {'; '.join(faults[:3])}{more}", where=str(path), fix=fix)
    with torch.no_grad():
        for name in needed:
            wanted[name].copy_(found[name])
    return sorted(fresh)


def _stage_of(name: str) -> str | None:
    return name.split(".")[2] if name.startswith("sites.stages.") else None


def _absent_stages(wanted: Any, found: Any) -> set[str]:
    return {stage for name in wanted if (stage := _stage_of(name))} - {_stage_of(name) for name in found}
