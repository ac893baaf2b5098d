from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from aaclip_kit_plugins.clip_weights import load_weights
from aaclip_kit_plugins.named_weights import quiet
from aaclip_kit_plugins.open_clip import OpenClipOptions
from aaclip_kit_plugins.open_clip.backbone import OpenClipBackbone
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import interpolate

from aaclip_kit import UserError

from ..helpers import Code, assert_close

POSITIONS = "visual.positional_embedding"


@pytest.fixture
def weights(tiny_clip: Path) -> dict[str, Tensor]:
    """Weights for the tiny model that differ from those it starts with."""
    generator = torch.Generator().manual_seed(9)
    start = build(tiny_clip, "none").clip.state_dict()
    return {key: torch.randn(value.shape, generator=generator) for key, value in start.items()}


def build(model: Path, pretrained: Path | str, **options: Any) -> OpenClipBackbone:
    return OpenClipBackbone(OpenClipOptions(model=str(model), pretrained=str(pretrained), **options))


def refused(model: Path, file: Path, match: str) -> str:
    with pytest.raises(UserError, match=match) as caught:
        build(model, file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_own_weights_lie_in_the_folder(tiny_clip: Path, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_clip, folder)
    with pytest.raises(UserError, match=r"open_clip_model\.safetensors does not exist"):
        build(folder, "own")
    save_file({key: value.half() for key, value in weights.items()}, folder / "open_clip_model.safetensors")
    loaded = build(folder, "own").clip.state_dict()
    for key in weights.keys() - {"logit_scale"}:
        assert loaded[key].dtype == torch.float32
        assert torch.equal(loaded[key], weights[key].half().float()), key


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {f"module.{key}": value for key, value in weights.items()},
        lambda weights: {f"_orig_mod.module.{key}": value for key, value in weights.items()},
        lambda weights: {key: value for key, value in weights.items() if key != "logit_scale"},
    ],
    ids=["plain", "wrapped", "distributed", "compiled", "without scale"],
)
def test_a_pickle_of_weights_only_is_read(
    tiny_clip: Path, tmp_path: Path, weights: dict[str, Tensor], wrap: Callable[[dict[str, Tensor]], dict[str, Any]]
) -> None:
    torch.save(wrap(weights), tmp_path / "weights.pt")
    loaded = build(tiny_clip, tmp_path / "weights.pt").clip.state_dict()
    assert torch.equal(loaded[POSITIONS], weights[POSITIONS])


@pytest.mark.parametrize(
    ("form", "mode", "antialias"),
    [("antialiased", "bicubic", True), ("bicubic", "bicubic", False), ("bilinear", "bilinear", False)],
)
def test_positions_are_resized_to_the_image(
    form: str, mode: str, antialias: bool, tiny_clip: Path, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    save_file({key: value.half() for key, value in weights.items()}, tmp_path / "weights.safetensors")
    backbone = build(tiny_clip, tmp_path / "weights.safetensors", image_size=24, position_resize=form)
    loaded = backbone.clip.state_dict()[POSITIONS]
    given = weights[POSITIONS].half().float()
    grid = given[1:].reshape(1, 4, 4, 32).permute(0, 3, 1, 2)
    resized = interpolate(grid, size=(3, 3), mode=mode, antialias=antialias, align_corners=False)
    assert torch.equal(loaded[0], given[0])
    assert_close(loaded[1:], resized.permute(0, 2, 3, 1).reshape(9, 32))


def test_a_file_that_does_not_fit_names_what_differs(
    tiny_clip: Path, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    file = tmp_path / "weights.safetensors"
    misfit = {key: value for key, value in weights.items() if "ln_1" not in key}
    misfit |= {"text_projection": torch.zeros(16, 25), "surplus": torch.zeros(1)}
    save_file(misfit, file)
    text = refused(tiny_clip, file, "does not fit the model")
    assert "text_projection is [16, 25] where [16, 24] is needed" in text
    assert "ln_1.weight is missing" in text
    assert "and 22 more" in text
    save_file({**weights, POSITIONS: torch.zeros(12, 32)}, file)
    assert "no square grid" in refused(tiny_clip, file, "does not fit the model")


def test_nothing_is_copied_from_a_file_that_does_not_fit(
    tiny_clip: Path, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    backbone = build(tiny_clip, "none")
    before = {key: value.clone() for key, value in backbone.clip.state_dict().items()}
    save_file({**weights, "text_projection": torch.zeros(16, 25)}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError):
        load_weights(backbone.clip, tmp_path / "weights.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in backbone.clip.state_dict().items())


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_damaged_file(tiny_clip: Path, tmp_path: Path, weights: dict[str, Tensor], name: str) -> None:
    file = tmp_path / name
    save_file(weights, file) if name.endswith("safetensors") else torch.save(weights, file)
    whole = file.read_bytes()
    other = "damaged, or no file of weights" if name.endswith("safetensors") else "it is no file of weights"
    said = {whole[: len(whole) // 2]: "damaged, or no file of weights", b"not weights at all": other}
    for content, match in {**said, b"": "it is empty", b"version https://git-lfs": "a pointer of Git LFS"}.items():
        file.write_bytes(content)
        refused(tiny_clip, file, match)


def test_a_pickle_that_holds_more_than_weights_is_refused(tiny_clip: Path, tmp_path: Path) -> None:
    torch.save({"text_projection": torch.zeros(1), "more": Code(tmp_path / "ran")}, tmp_path / "weights.pt")
    refused(tiny_clip, tmp_path / "weights.pt", "refused, since loading it could run its code")
    assert not (tmp_path / "ran").exists()


def test_a_torchscript_archive_is_refused(tiny_clip: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "weights.pt")
    refused(tiny_clip, tmp_path / "weights.pt", "refused, since loading it could run its code")


def test_a_file_without_names_and_a_missing_file(tiny_clip: Path, tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "weights.pt")
    refused(tiny_clip, tmp_path / "weights.pt", "holds no weights by name")
    refused(tiny_clip, tmp_path / "gone.pt", "does not exist")
    with pytest.raises(UserError, match=r"gone\.pt does not exist"):
        build(Path("ViT-B-32"), tmp_path / "gone.pt")


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = OpenClipOptions(model="./mine", pretrained="weights.pt")
    assert options.model == str(tmp_path / "mine")
    assert options.pretrained == str(tmp_path / "weights.pt")
    assert OpenClipOptions(model="ViT-B-32", pretrained="openai").model_dump()["pretrained"] == "openai"


def test_open_clips_remarks_do_not_reach_the_user(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    handlers = list(root.handlers)
    with quiet():
        root.handlers.clear()
        logging.info("installs a handler")
        logging.warning("a remark")
        warnings.warn("another", stacklevel=1)
        root.handlers.extend(handlers)
    assert root.handlers == handlers
    assert caplog.records == []
    logging.warning("heard again")
    assert [record.getMessage() for record in caplog.records] == ["heard again"]


def test_a_vocabulary_that_the_tokenizer_does_not_know(tiny_clip: Path, tmp_path: Path) -> None:
    content = json.loads((tiny_clip / "open_clip_config.json").read_text())
    content["model_cfg"]["text_cfg"]["vocab_size"] = 1000
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="a vocabulary of 1000 tokens"):
        build(tmp_path, "none")
