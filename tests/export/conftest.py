"""A run that was exported, for all tests of what was written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..once import once


@pytest.fixture(scope="session")
def images(defects: Path) -> Path:
    """Photographs of the class that the run was tested on."""
    return defects / "green_wood" / "test"


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, trained: Path, images: Path) -> Path:
    """The run as ONNX: adapters, both cross-attention stages, text features of each image."""
    pytest.importorskip("onnxruntime")

    def make(folder: Path) -> None:
        command = ["export", str(trained), "--to", "onnx", "--out", str(folder / "model"), "--images", str(images)]
        subprocess.run([sys.executable, "-m", "aaclip_kit", *command], check=True, capture_output=True)

    return once(tmp_path_factory, "written", make) / "model"
