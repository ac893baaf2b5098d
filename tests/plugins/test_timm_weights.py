from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from aaclip_kit_plugins.timm_vit import TimmOptions, weights_at_hand
from aaclip_kit_plugins.timm_vit.backbone import TimmBackbone
from aaclip_kit_plugins.timm_vit.weights import published_positions
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from aaclip_kit import UserError

from ..helpers import Code, assert_close
from .tiny_vits import SIDES, drawn, published_layout, weights_file


def build(model: str, pretrained: Path | str, **options: Any) -> TimmBackbone:
    return TimmBackbone(TimmOptions(model=model, pretrained=str(pretrained), **options))


def refused(model: str, file: Path, match: str) -> str:
    with pytest.raises(UserError, match=match) as caught:
        build(model, file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def save(weights: dict[str, Tensor], file: Path) -> Path:
    (save_file if file.suffix == ".safetensors" else torch.save)(weights, file)
    return file


def same(model: str, file: Path, expected: dict[str, Tensor]) -> None:
    loaded = build(model, file).vit.state_dict()
    assert loaded.keys() == expected.keys()
    for key, value in expected.items():
        assert_close(loaded[key], value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("name", SIDES)
def test_weights_in_timms_own_layout_are_taken_as_they_are(tmp_path: Path, name: str, suffix: str) -> None:
    weights = drawn(name).state_dict()
    same(name, save(weights, tmp_path / f"weights{suffix}"), weights)


@pytest.mark.parametrize("name", ["tiny_dinov2", "tiny_dinov2_reg"])
def test_dinov2_as_it_was_published_gives_the_same_weights(tmp_path: Path, name: str) -> None:
    weights = drawn(name).state_dict()
    published = published_layout(weights)
    assert published.keys() != weights.keys()
    same(name, save(published, tmp_path / "published.pth"), weights)


def test_weights_may_be_in_half_precision_wrapped_and_with_a_classifier(tmp_path: Path) -> None:
    weights = {key: value.half() for key, value in drawn("tiny_dinov2").state_dict().items()}
    wrapped = {f"module.{key}": value for key, value in weights.items()} | {"module.head.weight": torch.zeros(10, 48)}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "weights.pt")
    same("tiny_dinov2", tmp_path / "weights.pt", {key: value.float() for key, value in weights.items()})


def antialiased(positions: Tensor, before: int, side: int) -> Tensor:
    """Positions at another grid as timm has them."""
    grid = positions[:, before:].unflatten(1, (5, 5)).permute(0, 3, 1, 2)
    resized = interpolate(grid, size=(side, side), mode="bicubic", antialias=True)
    return torch.cat([positions[:, :before], resized.flatten(2).transpose(1, 2)], dim=1)


def sampled(positions: Tensor, before: int, side: int) -> Tensor:
    """Positions at another grid as published: where each new one is read is written out, and reading is torch's."""
    grid = positions[:, before:].unflatten(1, (5, 5)).permute(0, 3, 1, 2)
    source = (torch.arange(side) + 0.5) * 5 / (side + 0.1) - 0.5
    places = (2 * source + 1) / 5 - 1
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    read = torch.stack([columns, rows], dim=-1)[None]
    resized = grid_sample(grid, read, mode="bicubic", padding_mode="border", align_corners=False)
    return torch.cat([positions[:, :before], resized.flatten(2).transpose(1, 2)], dim=1)


@pytest.mark.parametrize("side", [3, 5, 8])
@pytest.mark.parametrize(("name", "before"), [("tiny_dinov2", 1), ("tiny_dinov2_reg", 0)])
def test_position_resize(tmp_path: Path, name: str, before: int, side: int) -> None:
    """At the model's own size nothing changes; at others timm's way and the published one differ."""
    file, own = weights_file(name, tmp_path), drawn(name).pos_embed
    timms, published = (
        build(name, file, image_size=14 * side, **options).vit.pos_embed
        for options in ({}, {"position_resize": "dinov2"})
    )
    if side == 5:
        assert torch.equal(timms, own) and torch.equal(published, own)
        return
    assert_close(timms, antialiased(own, before, side))
    assert_close(published, sampled(own, before, side), atol=1e-5)
    assert (timms - published).abs().max() > 1e-2


def test_positions_of_another_size_than_the_models_own_are_resized_once(tmp_path: Path) -> None:
    larger = drawn("tiny_dinov2", img_size=112)
    file = save(larger.state_dict(), tmp_path / "larger.safetensors")
    assert torch.equal(build("tiny_dinov2", file, image_size=112).vit.pos_embed, larger.pos_embed)
    published = build("tiny_dinov2", file, position_resize="dinov2").vit.pos_embed
    assert_close(published, published_positions(larger.pos_embed, 1, 5))


def test_a_way_of_resizing_positions_is_refused_where_there_are_none() -> None:
    with pytest.raises(UserError, match="tiny_dinov3 has no positional embedding that could be resized") as caught:
        build("tiny_dinov3", "none", position_resize="dinov2")
    assert caught.value.where == "backbone.position_resize"


def test_a_file_of_another_model_names_what_differs(tmp_path: Path) -> None:
    for name in SIDES:
        weights_file(name, tmp_path)
    registers = tmp_path / "tiny_dinov2_reg.safetensors"
    assert "reg_token is unknown" in refused("tiny_dinov2", registers, "does not fit the model")
    assert "reg_token is missing" in refused("tiny_dinov2_reg", tmp_path / "tiny_dinov2.safetensors", "does not fit")
    patches = "patch_embed.proj.weight is [48, 3, 8, 8] where [48, 3, 14, 14] is needed"
    text = refused("tiny_dinov2", tmp_path / "tiny_dinov3.safetensors", "does not fit the model")
    assert patches in text and "set backbone.model to the model that the file was made for" in text
    wider = {
        key: torch.zeros(*(2 * size for size in value.shape)) for key, value in drawn("tiny_dinov3").named_parameters()
    }
    del wider["patch_embed.proj.weight"]
    text = refused("tiny_dinov3", save(wider, tmp_path / "wider.safetensors"), "does not fit the model")
    assert "[2, 2, 96] where [1, 1, 48] is needed" in text and "more" in text
    clip = {"visual.class_embedding": torch.zeros(48), "text_projection": torch.zeros(4, 4)}
    refused("tiny_dinov2", save(clip, tmp_path / "clip.safetensors"), "does not fit the model")


def test_what_is_no_file_of_weights(tmp_path: Path) -> None:
    refused("tiny_dinov2", tmp_path / "gone.pth", "does not exist")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    refused("tiny_dinov2", tmp_path / "list.pt", "holds no weights by name")
    (tmp_path / "text.safetensors").write_text("weights")
    refused("tiny_dinov2", tmp_path / "text.safetensors", "damaged, or no file of weights")
    torch.save({"cls_token": torch.zeros(1), "more": Code(tmp_path / "ran")}, tmp_path / "code.pt")
    refused("tiny_dinov2", tmp_path / "code.pt", "refused, since loading it could run its code")
    assert not (tmp_path / "ran").exists()
    weights = drawn("tiny_dinov2").state_dict()
    save({**weights, "norm.bias": weights["norm.bias"] / 0}, tmp_path / "infinite.safetensors")
    assert "norm.bias" in refused("tiny_dinov2", tmp_path / "infinite.safetensors", "not finite")


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert TimmOptions(model="tiny_dinov2", pretrained="weights.pth").pretrained == str(tmp_path / "weights.pth")
    assert TimmOptions(model="tiny_dinov2").pretrained == "timm"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    return tmp_path / "hub"


def test_weights_of_timms_are_fetched_once_and_it_is_told(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = weights_file("tiny_dinov2", tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, name: file)
    assert_close(build("tiny_dinov2", "timm").vit.pos_embed, drawn("tiny_dinov2").pos_embed)
    told = capsys.readouterr()
    assert (told.out, told.err.split(": ")[0]) == ("", "fetching the weights of tiny_dinov2")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repository, name: str(file))
    build("tiny_dinov2.drawn", "timm")
    assert capsys.readouterr().err == ""


def test_weights_out_of_reach_say_which_file_to_put_where(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(UserError, match="neither on this machine nor could they be fetched") as caught:
        build("tiny_dinov2", "timm")
    for part in ("backbone.pretrained", "model.safetensors of timm/tiny_dinov2.drawn", "none"):
        assert part in str(caught.value)


def test_a_model_without_published_weights(hub: Path) -> None:
    with pytest.raises(UserError, match="timm publishes no weights of tiny_dinov3"):
        build("tiny_dinov3", "timm")


def test_nothing_is_fetched_for_what_cannot_be_built(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({"image_size": 71}, {"surgery_blocks": 5}):
        with pytest.raises(UserError, match=r"71 pixels|5 blocks"):
            build("tiny_dinov2", "timm", **options)
    assert capsys.readouterr().err == ""


def test_weights_in_the_hubs_cache_are_at_hand(hub: Path) -> None:
    assert weights_at_hand() == []
    repository = hub / "models--timm--vit_small_patch14_dinov2.lvd142m"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc" / "model.safetensors").write_text("")
    assert weights_at_hand() == ["vit_small_patch14_dinov2.lvd142m"]
