"""Small things that many tests share."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def assert_close(actual: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """The one comparison of numbers: float32 on a CPU unless the test states other tolerances and why."""
    torch.testing.assert_close(torch.as_tensor(actual), torch.as_tensor(expected), rtol=rtol, atol=atol)


def gradient_of(tensor: Tensor) -> Tensor:
    """The gradient that has reached a tensor; one must have."""
    assert tensor.grad is not None
    return tensor.grad


class Code:
    """A pickle that makes a folder when it is loaded carelessly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.mkdir, (self.folder,)


def untested(names: Iterable[str], file: str) -> list[str]:
    """Those names that no test of a module, called after them, sets in a string and asserts something of."""
    tests = {
        node.name: node
        for node in ast.parse(Path(file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    return [name for name in names if not (f"test_{name}" in tests and _is_about(tests[f"test_{name}"], name))]


def _is_about(test: ast.FunctionDef, name: str) -> bool:
    nodes = list(ast.walk(test))
    said = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    word = re.compile(rf"(^|\.){name}($|=)")
    checks = any(
        isinstance(node, ast.Assert) or getattr(getattr(node, "func", None), "id", "").startswith("assert_")
        for node in nodes
    )
    return checks and any(word.search(text) for text in said if text != ast.get_docstring(test, clean=False))


def bilinear(grid: np.ndarray, size: int) -> np.ndarray:
    """A square grid at another size, corners on corners: rows, then columns, point by point."""
    places = np.linspace(0, len(grid) - 1, size)
    rows = np.array([np.interp(places, np.arange(len(grid)), row) for row in grid])
    return np.array([np.interp(places, np.arange(len(grid)), column) for column in rows.T]).T
