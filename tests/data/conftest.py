"""A drawn class that a test may damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..conftest import write_class


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Folder of class `cloth`: 4 normal and 4 anomalous images of 40 px."""
    write_class(tmp_path, "cloth", 0, seed=0)
    return tmp_path / "cloth"
