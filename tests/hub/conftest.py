"""A hub on this machine, the client's own settings pointed at it, and models to push."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from ..cli.conftest import place
from ..cli.test_teach import draw
from ..once import once
from .server import TOKEN, Hub, serving

PLACE = "{repo_id}/resolve/{revision}/{filename}"

__all__ = ["place"]


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of good photographs, line.model, and photographs: good, more and bad."""
    from aaclip_kit.cli.teach import teach

    def make(folder: Path) -> None:
        good = draw(folder / "good", 8, seed=1)
        draw(folder / "more", 6, seed=2)
        draw(folder / "bad", 2, seed=3, spot=True)
        teach(good, None, folder / "line.model", "tile", None, None, [], "cpu")

    return once(tmp_path_factory, "pushed", make)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub; whoever asks it has a token that may write."""
    with serving() as hub:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.endpoint}/{PLACE}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub
