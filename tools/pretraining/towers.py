"""The model's two towers, run so that crops keep their place and short captions cost little."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import open_clip
import torch
from aaclip_kit_plugins.embedded import CONFIG
from numpy.typing import NDArray
from torch import Tensor, nn

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def build() -> Any:
    """The untrained model, as open_clip builds it from the config file."""
    return open_clip.model.CLIP(**json.loads(CONFIG.read_text()))


def pixels(images: NDArray[np.uint8]) -> Tensor:
    """uint8 [B, s, s, 3] to the model's input [B, 3, s, s]."""
    values = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(255.0)
    return values.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))


def tokens_by_level(visual: Any, images: Tensor, corner: Tensor, levels: tuple[int, ...]) -> dict[int, Tensor]:
    """Tokens after each level's blocks and `ln_post`, [B, 1 + N, D], class token first.

    A crop takes the part of the position embedding where it lies: `corner` [B, 2] is its first patch row and column.
    """
    x = visual.conv1(images)
    height, width = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)
    side = visual.grid_size[1]
    rows = corner[:, 0, None, None] + torch.arange(height)[None, :, None]
    columns = corner[:, 1, None, None] + torch.arange(width)[None, None, :]
    place = visual.positional_embedding[1 + (rows * side + columns).flatten(1)]
    first = (visual.class_embedding + visual.positional_embedding[0]).expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([first, x + place], 1))
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
