"""Tiny prompts, heads and stages that tests build models of: each does the least that its contract asks for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aaclip_kit import (
    Backbone,
    Domain,
    Head,
    ImageFeatures,
    ImageTokens,
    LoopPlan,
    LoopRecord,
    PhasePlan,
    Prompts,
    Reads,
    Scores,
    softmax_maps,
    text_tower,
    unit,
    upsampled,
)  # fmt: skip


class TinyHead(Head):
    """Compares patches, averaged over the levels, with two vectors of its own: a head that needs no text."""

    needs_text = False
    makes = frozenset({"level_probabilities"})

    def __init__(self, width: int = 4, reads: Reads | None = None) -> None:
        super().__init__()
        self.reads = reads or Reads()
        self.vectors = nn.Parameter(torch.linspace(-1, 1, 2 * width).reshape(width, 2))

    def features(self, tokens: ImageTokens) -> ImageFeatures:
        """Unit patches."""
        return ImageFeatures({level: unit(of) for level, of in tokens.levels.items()})

    def level_probabilities(self, features: ImageFeatures, text: Tensor | None, size: int) -> dict[int, Tensor]:
        """Softmax at every pixel."""
        return {level: softmax_maps(self._grid(of), size) for level, of in features.levels.items()}

    def score(self, features: ImageFeatures, text: Tensor | None, size: int, domain: Domain, smooth: bool) -> Scores:
        """The mean over the levels of the share that is abnormal; an image scores as its highest patch."""
        grids = [self._grid(of).softmax(dim=1)[:, 1] for of in features.levels.values()]
        grid = torch.stack(grids).mean(dim=0)
        return Scores(grid, upsampled(grid[:, None], size)[:, 0], grid.flatten(1).amax(dim=1))

    def _grid(self, patches: Tensor) -> Tensor:
        side = round(patches.shape[1] ** 0.5)
        return (10 * patches.float() @ self.vectors).transpose(1, 2).unflatten(2, (side, side))


class TinyPrompts(Prompts):
    """One prompt of each state, with the backbone's own projection and nothing to train."""

    normal_prompts = 1

    def prompts(self, real_name: str) -> Sequence[str]:
        """Sound, and not."""
        return [f"a {real_name}.", f"a broken {real_name}, and more."]

    def combine(self, features: Tensor) -> Tensor:
        """Unit features."""
        return unit(features).transpose(1, 2)


class ByImage(TinyPrompts):
    """The same, whose tokens are moved by the image before one block and the next."""

    def __init__(self, backbone: Backbone, first: int) -> None:
        super().__init__()
        self.conditioned_from = self.first = first
        self.own = nn.Linear(backbone.embedding_width, text_tower(backbone).width)

    def before_block(self, block: int, tokens: Tensor, image: Tensor | None) -> Tensor:
        """Add what the image says."""
        return tokens if image is None or block > self.first + 1 else tokens + self.own(image)[:, None]


class Plans:
    """A scheduler of one loop with these phases."""

    def __init__(self, *phases: PhasePlan) -> None:
        self.phases = phases

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The loop, and then no other."""
        return None if history else LoopPlan(self.phases)
