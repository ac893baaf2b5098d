"""Hostile CLIP weights and model folders: one plain error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from aaclip_kit_plugins.open_clip import OpenClipOptions
from aaclip_kit_plugins.open_clip.backbone import OpenClipBackbone
from safetensors.torch import save_file
from torch import Tensor

from aaclip_kit import UserError

from ..conftest import TINY
from ..helpers import Code
from .given import NO_FILES, within

NAME = "ln_final.bias"


@pytest.fixture(scope="module")
def weights(tiny_clip: Path) -> dict[str, Tensor]:
    clip = OpenClipBackbone(OpenClipOptions(model=f"{tiny_clip}/", pretrained="none")).clip
    return {name: value.clone() for name, value in clip.state_dict().items()}


CHANGES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "no number": (lambda value: value / 0, "not finite"),
    "whole numbers": (lambda value: value.to(torch.int64), "is no tensor of weights: it is torch.int64"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_numbers_that_are_no_weights(
    tiny_clip: Path, tmp_path: Path, weights: dict[str, Tensor], suffix: str, change: Callable[..., Tensor], said: str
) -> None:
    file = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)({**weights, NAME: change(weights[NAME])}, file)
    with pytest.raises(UserError, match=said) as caught:
        OpenClipBackbone(OpenClipOptions(model=f"{tiny_clip}/", pretrained=str(file)))
    assert caught.value.where == str(file) and NAME in caught.value.problem


def test_code_in_weights_does_not_run(tiny_clip: Path, tmp_path: Path) -> None:
    torch.save({"a": Code(tmp_path / "ran")}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="refused"):
        OpenClipBackbone(OpenClipOptions(model=f"{tiny_clip}/", pretrained=str(tmp_path / "weights.pt")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_what_is_no_file_is_not_waited_for(
    tiny_clip: Path, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / name)
    with within(10), pytest.raises((UserError, ValueError), match=r"does not exist|no path"):
        OpenClipBackbone(OpenClipOptions(model=f"{tiny_clip}/", pretrained=str(tmp_path / name)))


def _config(**changes: Any) -> str:
    return json.dumps({"model_cfg": {**TINY, **changes}, "preprocess_cfg": {}})


CONFIGS = {
    "brackets": "[" * 100_000,
    "a list": "[]",
    "a list for a tower": _config(vision_cfg=[]),
    "a text for a tower": _config(text_cfg="large"),
    "no patch": _config(vision_cfg={**TINY["vision_cfg"], "patch_size": 0}),
    "a negative width": _config(vision_cfg={**TINY["vision_cfg"], "width": -8}),
    "a text for a width": _config(text_cfg={**TINY["text_cfg"], "width": "wide"}),
    "no heads": _config(text_cfg={**TINY["text_cfg"], "heads": 0}),
    "a negative depth": _config(vision_cfg={**TINY["vision_cfg"], "layers": -1}),
    "heads wider than the tower": _config(vision_cfg={**TINY["vision_cfg"], "head_width": 10**9}),
    "an exabyte of weights": _config(embed_dim=10**18),
    "a text for the shared space": _config(embed_dim="x"),
    "too few statistics": json.dumps({"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5]}}),
    "statistics of letters": json.dumps({"model_cfg": TINY, "preprocess_cfg": {"std": "abc"}}),
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_cannot_be(tmp_path: Path, text: str) -> None:
    (tmp_path / "open_clip_config.json").write_text(text)
    with within(20), pytest.raises(UserError) as caught:
        OpenClipBackbone(OpenClipOptions(model=f"{tmp_path}/", pretrained="none"))
    assert len(str(caught.value)) < 2000
