"""Experiments that are only checked: no model is built and no data read, so paths may lead nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import UserError, UserErrors
from aaclip_kit.experiment import Experiment, load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.plugin_host.registry import Registry

from ..conftest import EXPERIMENT

Load = Callable[..., Experiment]


@pytest.fixture(scope="session")
def registry() -> Registry:
    return discover()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A valid experiment file."""
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT.format(model="ViT-B-32", data="data"))
    return path


@pytest.fixture
def checked(file: Path, registry: Registry) -> Load:
    """Load the file with overrides."""
    return lambda *overrides: load(file, registry, overrides)


@pytest.fixture
def faults(checked: Load) -> Callable[..., list[UserError]]:
    """Load the file with overrides that are faulty, and return every fault."""

    def load_faulty(*overrides: str) -> list[UserError]:
        with pytest.raises(UserErrors) as caught:
            checked(*overrides)
        return list(caught.value.faults)

    return load_faulty


@pytest.fixture
def edit(file: Path) -> Callable[[str, str], None]:
    """Replace a part of the file that stands there once."""

    def replace(old: str, new: Any) -> None:
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the file"
        file.write_text(text.replace(old, new))

    return replace
