"""Device and autocast precision."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ..contracts.errors import UserError
from .ranks import ALONE, Ranks

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class ComputeDevice:
    """Where a run computes, and in which precision."""

    device: torch.device
    precision: str

    @classmethod
    def choose(cls, device: str, precision: str, ranks: Ranks = ALONE) -> "ComputeDevice":
        """Resolve "auto"; of several ranks, each has a CUDA device of its own.

        Raises `UserError` for a CUDA device that is not there, and for one that several ranks would share.
        """
        there = torch.cuda.is_available()
        name = ("cuda" if there else "cpu") if device == "auto" else device
        if ranks.is_distributed and name.startswith("cuda"):
            name = _own_device(name, ranks)
        if name.startswith("cuda") and not there:
            problem = f"device is '{name}', but torch sees no CUDA device"
            raise UserError(problem, where="device", fix="use device = 'cpu'")
        chosen = torch.device(name)
        if chosen.type == "cuda" and (chosen.index or 0) >= (count := torch.cuda.device_count()):
            raise UserError(f"there is no '{name}': {count} CUDA devices", where="device", fix="use a lower number")
        if precision == "auto":
            # Without emulation: a card that has no bf16 of its own would be slower in it than in fp32.
            has_bf16 = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            precision = "bf16" if has_bf16 else "fp32"
        return cls(chosen, precision)

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision for a forward pass; nothing in fp32."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    @property
    def runs_ahead(self) -> bool:
        """Whether the program goes on before the device has done what it was told.

        Loss scaling has to wait for the device, to know whether a step was taken.
        """
        return self.device.type == "cuda" and self.precision != "fp16"

    def gradient_scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, which acts in fp16 only."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {self.precision}"


def _own_device(name: str, ranks: Ranks) -> str:
    if name != "cuda":
        problem = f"device is '{name}', which {ranks.size} processes would share"
        raise UserError(problem, where="device", fix='leave device at "auto", so that each process has its own')
    if ranks.local >= (count := torch.cuda.device_count()):
        problem = f"there are {count} CUDA devices, too few for process {ranks.local + 1} of this machine"
        fix = f"start at most {count} processes a machine (torchrun --nproc-per-node), or use device = 'cpu'"
        raise UserError(problem, where="device", fix=fix)
    return f"cuda:{ranks.local}"
