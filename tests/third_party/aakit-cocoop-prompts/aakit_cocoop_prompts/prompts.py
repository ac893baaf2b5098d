"""The prompts themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aaclip_kit import Backbone, Prompts, PromptSetting, text_tower, unit

from . import CocoopOptions


class Cocoop(Prompts):
    """`V1 ... VM NAME.` and `V1 ... VM damaged NAME.`: the V are learnt, and an image adds one vector to all."""

    normal_prompts = 1

    def __init__(self, options: CocoopOptions, setting: PromptSetting) -> None:
        super().__init__()
        self.end = 1 + options.tokens
        width, embedding = text_tower(setting.backbone).width, setting.backbone.embedding_width
        with setting.drawn("context"):
            self.context = nn.Parameter(0.02 * torch.randn(options.tokens, width))
        if options.image_shift:
            self.conditioned_from = 0
            # A sixteenth, as published; of a small backbone that would be one ReLU, which may be off for good.
            hidden = max(embedding // 16, 8)
            with setting.drawn("meta"):
                self.meta = nn.Sequential(nn.Linear(embedding, hidden), nn.ReLU(), nn.Linear(hidden, width))
            for own in self.meta[2].parameters():
                nn.init.zeros_(own)

    def prompts(self, real_name: str) -> Sequence[str]:
        """The words of both states, with a one-token word in the place of each learnt token."""
        places = "X " * len(self.context)
        return [f"{places}{real_name}.", f"{places}damaged {real_name}."]

    def embed(self, backbone: Backbone, tokens: Tensor) -> Tensor:
        """Tokens `[items, L, Dt]`: the start of the text, the learnt ones at their positions, the words."""
        words, places = backbone.embed_text(tokens), backbone.text_positions(self.end)[1:]
        return self._placed(words, (self.context + places).to(words.dtype).expand(len(words), -1, -1))

    def before_block(self, block: int, tokens: Tensor, image: Tensor | None) -> Tensor:
        """Tokens `[items, L, Dt]`, the learnt ones shifted before block 0 by what the image `[items, E]` says."""
        if block > 0 or image is None:
            return tokens
        return self._placed(tokens, tokens[:, 1 : self.end] + self.meta(unit(image))[:, None].to(tokens.dtype))

    def combine(self, features: Tensor) -> Tensor:
        """Features `[K, 2, E]` of the prompts to unit columns `[K, E, 2]`."""
        return unit(features).transpose(1, 2)

    def _placed(self, tokens: Tensor, learnt: Tensor) -> Tensor:
        return torch.cat([tokens[:, :1], learnt, tokens[:, self.end :]], dim=1)
