"""Device and autocast precision."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ..contracts.errors import UserError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Place:
    """Where a run computes, and in which precision."""

    device: torch.device
    precision: str

    @classmethod
    def choose(cls, device: str, precision: str) -> "Place":
        """Resolve "auto". Raises `UserError` for a CUDA device that is not there."""
        there = torch.cuda.is_available()
        name = ("cuda" if there else "cpu") if device == "auto" else device
        if name.startswith("cuda") and not there:
            raise UserError(
                f"device is '{name}', but torch sees no CUDA device", where="device", fix="use device = 'cpu'"
            )
        chosen = torch.device(name)
        if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
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

    def gradient_scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, which acts in fp16 only."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {self.precision}"
