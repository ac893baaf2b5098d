"""A program of torch.export is written whole, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from aaclip_kit.export.torch_file import write_torch


def test_a_disk_that_is_full_is_an_error_of_the_system() -> None:
    """What torch writes into a file itself ends the process there."""
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),), strict=False)
    with pytest.raises(OSError, match="No space left"):
        write_torch(program, Path("/dev/full"))
