"""DINOv2 ViT-S/14 as it was published, with the recipe's weights in the published layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from aaclip_kit_plugins.timm_vit import TimmOptions
from aaclip_kit_plugins.timm_vit.backbone import TimmBackbone
from torch import Tensor

from ..conftest import SHARED
from ..parity.goldens import Goldens
from ..parity.keys import Group
from ..tiers import daily

FOLDER, RECIPE = SHARED / "peers" / "anomalydino", SHARED / "parity" / "recipe.py"
MODEL = "vit_small_patch14_dinov2.lvd142m"
GAINS = ("norm1.weight", "norm2.weight", "norm.weight", "ls1.gamma", "ls2.gamma")
FACTORS = {"pos_embed": 200, "cls_token": 6}


@pytest.fixture(scope="module")
def goldens() -> Goldens:
    if not (FOLDER / "goldens.npz").is_file():
        pytest.skip("no goldens in ../shared/peers/anomalydino")
    return Goldens.read(FOLDER, RECIPE)


@pytest.fixture(scope="module")
def published(goldens: Goldens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe's weights by the names of the published file."""
    shapes = {key: tuple(value.shape) for key, value in build("none").vit.state_dict().items()}
    file = tmp_path_factory.mktemp("dinov2") / "dinov2_vits14_pretrain.pth"
    torch.save({key: drawn(goldens, key, shape) for key, shape in {**shapes, "mask_token": (1, 384)}.items()}, file)
    return file


def drawn(goldens: Goldens, key: str, shape: tuple[int, ...]) -> Tensor:
    value = torch.from_numpy(goldens.recipe.weight(goldens.info["tag"], f"{goldens.info['weights']}{key}", shape))
    return 1 + 2 * value if key.endswith(GAINS) else FACTORS.get(key, 1) * value


def build(pretrained: Path | str, **options: int) -> TimmBackbone:
    chosen = TimmOptions(model=MODEL, pretrained=str(pretrained), position_resize="dinov2", **options)
    return TimmBackbone(chosen)


def images(goldens: Goldens, size: int) -> Tensor:
    return torch.from_numpy(goldens.recipe.images(goldens.info["tag"], goldens.info["batch"], size))


def group(name: str) -> Group:
    return Group(f"published/{name}", name, "published")


@torch.no_grad()
@pytest.mark.parametrize("part", daily(["", "small/"], "small/"))
def test_tokens_and_features_are_those_that_were_published(goldens: Goldens, published: Path, part: str) -> None:
    side = goldens.info["small_image_size" if part else "image_size"]
    backbone = build(published, image_size=side)
    tokens = backbone.embed_image(images(goldens, side))
    found = {"input": tokens}
    for index in range(backbone.vision.depth):
        tokens = backbone.vision_block(index, tokens)
        found[f"after_block{index + 1}"] = tokens[:, 1:]
    goldens.compare(group(f"{part}pos_embed"), {"": backbone.vit.pos_embed[0]})
    goldens.compare(group(f"{part}tokens"), found)
    goldens.compare(group(f"{part}features"), {"": backbone.rule_features(images(goldens, side))})


def test_timms_way_of_resizing_positions_is_another(goldens: Goldens, published: Path) -> None:
    side = goldens.info["image_size"]
    timms = TimmBackbone(TimmOptions(model=MODEL, pretrained=str(published), image_size=side))
    with pytest.raises(AssertionError, match="published/pos_embed: differs"):
        goldens.compare(group("pos_embed"), {"": timms.vit.pos_embed[0].detach()})
