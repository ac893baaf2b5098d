"""Published checkpoints for the small experiment, their names written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..command import Ran

State = dict[str, Tensor]
D_TEXT, D_VISION, D_JOINT = 16, 32, 24
"""Widths of the tiny model."""

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "text_adapter": {**{f"{n}.fc.0.weight": (D_TEXT, D_TEXT) for n in range(3)}, "3.fc.0.weight": (D_JOINT, D_TEXT)},
    "image_adapter": {
        **{f"layer_adapters.{n}.fc.0.weight": (D_VISION, D_VISION) for n in range(2)},
        **{f"seg_proj.{n}.fc.weight": (D_JOINT, D_VISION) for n in range(4)},
        "det_proj.fc.weight": (D_JOINT, D_VISION),
    },
}
"""Published keys for the small experiment's 3 text and 2 vision adapters and 4 levels."""

OURS = {
    "text_adapter.1.fc.0.weight": "sites.stages.text_adapter.1.linear.weight",
    "text_adapter.3.fc.0.weight": "prompts.projection.weight",
    "image_adapter.layer_adapters.1.fc.0.weight": "sites.stages.vision_adapter.1.linear.weight",
    "image_adapter.seg_proj.0.fc.weight": "head.segmentation.2.linear.weight",
    "image_adapter.seg_proj.3.fc.weight": "head.segmentation.8.linear.weight",
    "image_adapter.det_proj.fc.weight": "head.detection.linear.weight",
    "text_cross_attn.k_proj.weight": "sites.stages.text_to_image.0.k_proj.weight",
    "image_cross_attn.out_proj.bias": "sites.stages.image_to_text.0.out_proj.bias",
}


def _attention(width: int, context: int) -> dict[str, tuple[int, ...]]:
    weights = {"q": (D_TEXT, width), "k": (D_TEXT, context), "v": (D_TEXT, context), "out": (width, D_TEXT)}
    return {
        name: shape
        for layer, size in weights.items()
        for name, shape in ((f"{layer}_proj.weight", size), (f"{layer}_proj.bias", size[:1]))
    }


SHAPES["text_cross_attn"] = _attention(D_TEXT, D_JOINT)
SHAPES["image_cross_attn"] = _attention(D_VISION, D_TEXT)


def part(name: str) -> State:
    """Noise in the shapes of a published part."""
    generator = torch.Generator().manual_seed(sorted(SHAPES).index(name))
    return {key: torch.randn(shape, generator=generator) for key, shape in SHAPES[name].items()}


OPTIMISER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-5}]}


def write_two(folder: Path, bare: str | None = None) -> list[Path]:
    """AA-CLIP's two files as its code writes them; or as bare state dicts, with or without prefixes."""
    folder.mkdir(exist_ok=True)
    paths = [folder / "text_adapter.pth", folder / "image_adapter_15.pth"]
    for name, path in zip(("text_adapter", "image_adapter"), paths, strict=True):
        content: dict[str, Any] = {"epoch": 15, name: part(name), f"{name.split('_')[0]}_optimizer": OPTIMISER}
        if bare is not None:
            content = {bare.format(name) + key: value for key, value in part(name).items()}
        torch.save(content, path)
    return paths


def write_loop(folder: Path, **changes: Any) -> Path:
    """The one dict of the method with feedback loops."""
    path = folder / "loop_2_final.pth"
    parts = {name: part(name) for name in SHAPES}
    optimisers = {"text_optimizer": OPTIMISER, "image_scheduler": {"last": torch.zeros(2)}}
    torch.save({"loop": 2, **parts, **optimisers, "losses": [1.0, 0.5], **changes}, path)
    return path


def imported(ran: Ran, path: Path) -> State:
    assert (ran.code, ran.err) == (0, ""), ran
    return load_file(path)


def assert_equal(found: State, wanted: State) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name
