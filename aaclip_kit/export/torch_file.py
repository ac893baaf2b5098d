"""The program as a file of torch.export, which torch alone loads and runs."""

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from .agreement import Runner

_LEAST: Final = 1024


def write_torch(program: ExportedProgram, path: Path) -> None:
    """Write the program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that several names share, which it writes once
        content = BytesIO()  # where a disk is full, what writes it into a file ends the process
        torch.export.save(program, content)
    path.write_bytes(content.getbuffer())


class _InHalf(nn.Module):
    """A graph whose weights are kept in half precision, and computed with in float32."""

    def __init__(self, graph: nn.Module, names: dict[str, Tensor]) -> None:
        super().__init__()
        self.graph = [graph]  # its float32 weights are no part of this module
        self.names = {f"half_{number}": name for number, name in enumerate(names)}
        for own, name in self.names.items():
            self.register_buffer(own, names[name].half())

    def forward(self, picture: Tensor, threshold: Tensor) -> Any:
        """Run it."""
        weights = {name: getattr(self, own).float() for own, name in self.names.items()}
        return torch.func.functional_call(self.graph[0], weights, (picture, threshold))


@torch.no_grad()
def with_half_weights(program: ExportedProgram, sizes: Any) -> ExportedProgram:
    """Return the program with weights in half precision."""
    graph: Any = program.module(check_guards=False)
    large = {
        name: tensor
        for name, tensor in [*graph.named_parameters(), *graph.named_buffers()]
        if tensor.dtype == torch.float32 and tensor.numel() >= _LEAST
    }
    return torch.export.export(_InHalf(graph, large), program.example_inputs[0], dynamic_shapes=sizes, strict=False)


def torch_runner(path: Path) -> Runner:
    """Return a function that runs a file."""
    module = torch.export.load(path).module()

    def run(pictures: np.ndarray, threshold: float) -> Sequence[np.ndarray]:
        with torch.no_grad():
            found = module(torch.from_numpy(np.array(pictures)), torch.tensor(threshold, dtype=torch.float32))
        return [part.numpy() for part in found]

    return run
