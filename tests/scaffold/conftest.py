"""New packages, written by the functions behind the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.plugin_host.registry import Kind
from aaclip_kit.scaffold import Package, write_package

Made = Callable[[Kind], tuple[Package, Path]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Write a package of this kind; what it is, and its folder."""

    def make(kind: Kind) -> tuple[Package, Path]:
        package = Package(f"made-{kind}", kind)
        write_package(package, tmp_path, discover())
        return package, tmp_path / package.name

    return make
