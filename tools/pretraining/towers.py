"""The model's two towers, run on features of the stem that are kept, and on short captions at little cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from aaclip_kit_plugins.embedded.stem import Stem
from numpy.typing import NDArray
from torch import Tensor, nn


@torch.inference_mode()
def stem_features(stem: Stem, images: NDArray[np.uint8]) -> Tensor:
    """uint8 [B, S, S, 3] to features in half precision [B, C, G, G]."""
    values = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().sub_(127.0).div_(128.0)
    return stem(values).half()


def tokens_by_level(visual: Any, features: Tensor, levels: tuple[int, ...]) -> dict[int, Tensor]:
    """Tokens after each level's blocks and `ln_post`, [B, 1 + N, D], class token first."""
    patches = visual.conv1.linear(features).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(patches), 1, -1)
    x = visual.ln_pre(torch.cat([first, patches], 1) + visual.positional_embedding)
    found = {}
    for level, block in enumerate(visual.transformer.resblocks, 1):
        x = block(x)
        if level in levels:
            found[level] = visual.ln_post(x)
    return found


def text_features(model: Any, tokens: Tensor) -> Tensor:
    """Unit text features [B, E]. Columns after the longest caption are cut: attention is causal, so nothing changes."""
    ends = tokens.argmax(-1)
    length = int(ends.max()) + 1
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)[torch.arange(len(x)), ends] @ model.text_projection
    return nn.functional.normalize(x, dim=-1)
