"""Small things that many tests share."""

from __future__ import annotations

from typing import Any

import torch


def assert_close(actual: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """The one comparison of numbers: float32 on a CPU unless the test states other tolerances and why."""
    torch.testing.assert_close(torch.as_tensor(actual), torch.as_tensor(expected), rtol=rtol, atol=atol)
