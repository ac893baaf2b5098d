from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
from aaclip_kit_plugins.open_clip.weights import weights_of_tag

from aaclip_kit import UserError

TAG = {"hf_hub": "timm/vit_large_patch14_clip_336.openai/", "url": "elsewhere/ViT-L-14-336px.pt"}


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repository, name: None)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])


def fail(*_: Any) -> Any:
    raise OSError("no route to host")


@pytest.mark.parametrize("broken", [(socket, "getaddrinfo"), (open_clip, "download_pretrained")])
def test_weights_out_of_reach_say_which_file_to_put_where(
    monkeypatch: pytest.MonkeyPatch, broken: tuple[Any, str]
) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(*broken, fail)
    with pytest.raises(UserError, match="neither on this machine nor could they be fetched") as caught:
        weights_of_tag("ViT-L-14-336", "openai", TAG)
    for part in (
        "backbone.pretrained",
        "open_clip_model.safetensors of timm/vit_large_patch14_clip_336.openai",
        "none",
    ):
        assert part in str(caught.value)


def test_what_is_in_the_cache_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def cached(repository: str, name: str) -> str | None:
        seen.append((repository, name))
        return "/cache/weights.bin" if name.endswith(".bin") else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    assert weights_of_tag("ViT-L-14-336", "openai", TAG) == Path("/cache/weights.bin")
    assert {repository for repository, _ in seen} == {"timm/vit_large_patch14_clip_336.openai"}
    weights_of_tag("ViT-L-14", "other", {"hf_hub": "somebody/models/named.bin"})
    assert seen[-1] == ("somebody/models", "named.bin")


def test_what_is_not_in_the_cache_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip, "download_pretrained", lambda config: f"/fetched/{config['url']}")
    assert weights_of_tag("ViT-L-14-336", "openai", TAG) == Path("/fetched/elsewhere/ViT-L-14-336px.pt")
