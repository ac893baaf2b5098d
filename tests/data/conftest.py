"""Drawn classes that a test may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aaclip_kit.data.load_data import Data, load_data
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover

from ..conftest import write_class
from .given import Loaded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Folder of class `cloth`: 4 normal and 4 anomalous images of 40 px."""
    write_class(tmp_path, "cloth", 0, seed=0)
    return tmp_path / "cloth"


@pytest.fixture
def data(tmp_path: Path, defects: Path) -> Path:
    return Path(shutil.copytree(defects, tmp_path / "data"))


@pytest.fixture
def loaded(small_experiment: Path, data: Path) -> Loaded:
    """The small experiment's data sets, from a copy that a test may damage."""

    def read(*overrides: str) -> Data:
        roots = [f"data.train.root={data}", f"data.test.root={data}"]
        return load_data(load(small_experiment, discover(), [*roots, *overrides]))

    return read
