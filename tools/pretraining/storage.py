"""Checkpoints that training resumes from, and the exported weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from .averaging import Average


def export(model: Any, path: Path) -> None:
    """Write the weights as float16 under open_clip's names, replacing the file in one step."""
    weights: dict[str, Tensor] = {k: w.detach().half().contiguous() for k, w in model.named_parameters()}
    temporary = path.with_suffix(".partial")
    save_file(weights, temporary, metadata={"format": "pt", "model": "aaclip_kit embedded, version 2"})
    temporary.chmod(0o644)
    temporary.replace(path)


def save(path: Path, step: int, model: Any, readout: Any, optimizer: Any, average: Average) -> None:
    """Write everything that the next step depends on."""
    state = {
        "step": step,
        "model": model.state_dict(),
        "readout": readout.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.weights,
        "updates": average.updates,
    }
    temporary = path.with_suffix(".partial")
    torch.save(state, temporary)
    temporary.replace(path)


def load(path: Path, model: Any, readout: Any, optimizer: Any, average: Average) -> int:
    """Restore a checkpoint in place and return the step to go on with."""
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    readout.load_state_dict(state["readout"])
    optimizer.load_state_dict(state["optimizer"])
    average.weights = state["average"]
    average.updates = state["updates"]
    return int(state["step"])
