from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
from aaclip_kit_plugins.open_clip import weights_at_hand

TAGS = {
    ("ViT-B-32", "hub"): {"hf_hub": "somebody/vit/", "url": "there/vit_hub.pt"},
    ("ViT-B-32", "direct"): {"url": "there/vit_direct.pt"},
    ("RN50", "direct"): {"url": "there/vit_direct.pt"},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; open_clip's list is three tags, one of them of a model that the backbone cannot be."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(open_clip, "list_pretrained", lambda: list(TAGS))
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, tag: TAGS[model, tag])
    for name in ("socket", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    return tmp_path


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a network was asked")


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_nothing_has_been_fetched(home: Path) -> None:
    assert weights_at_hand() == []


def test_what_the_hub_gave_is_found_in_its_cache(home: Path) -> None:
    repository = home / "hub" / "models--somebody--vit"
    put(repository / "refs" / "main", "abc")
    assert weights_at_hand() == []
    put(repository / "snapshots" / "abc" / "open_clip_model.safetensors")
    assert weights_at_hand() == ["ViT-B-32 hub"]


def test_what_came_from_elsewhere_is_found_where_open_clip_keeps_it(home: Path) -> None:
    put(home / ".cache" / "clip" / "vit_hub.pt")  # a tag of the hub is never taken from there
    assert weights_at_hand() == []
    put(home / ".cache" / "clip" / "vit_direct.pt")
    assert weights_at_hand() == ["ViT-B-32 direct"]
