"""The modules beside the benchmark scripts, as the scripts import one another; a workload of the tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session", autouse=True)
def _beside_the_scripts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield


@pytest.fixture
def script(_beside_the_scripts: None) -> Any:
    """A module of the folder by name."""

    def found(name: str) -> ModuleType:
        return import_module(name)

    return found


@pytest.fixture
def tiny(script: Any, tiny_clip: Path, tmp_path: Path) -> Any:
    """A workload of the tiny model; keywords replace parts of its load."""

    def made(**changes: Any) -> Any:
        workload = script("workload")
        load = {"kind": "stage1", "size": 32, "batch": 4, "model": str(tiny_clip), "levels": (2, 4, 6, 8), **changes}
        return workload.Workload(workload.Load(**load), tmp_path / "data")

    return made
