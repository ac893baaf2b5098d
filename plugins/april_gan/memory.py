"""The few-shot memory of APRIL-GAN: raw tokens of every level, distances added to the map (docs/guide/methods.md)."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from aaclip_kit import (
    Answer,
    Bank,
    ImageTokens,
    NormalScores,
    Reads,
    Reference,
    ReferenceSetting,
    Scores,
    nearest,
    upsampled,
)  # fmt: skip

from . import AprilGanMemoryOptions


class AprilGanMemory(Reference):
    """All patches of all images, level by level, as they leave the blocks; distances are added as they are."""

    reads = Reads(normed=False)

    def __init__(self, options: AprilGanMemoryOptions, setting: ReferenceSetting) -> None:
        super().__init__()
        self.levels, self.side = setting.levels, setting.backbone.grid
        self.shown = (0.0, float(len(self.levels)))

    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Bank:
        """Keep every patch `[k, levels, N, D]`, images in an order that their numbers decide."""
        kept = [] if bank is None else [*bank["patches"]]
        kept += [image for tokens in images for image in self._stacked(tokens)]
        kept.sort(key=self.rank)
        return {"patches": torch.stack(kept)}

    def _stacked(self, tokens: ImageTokens) -> Float[Tensor, "B L N D"]:
        return torch.stack([tokens.levels[level].float() for level in self.levels], dim=1)

    def answer(self, bank: Bank, tokens: ImageTokens) -> Answer:
        """The sum over the levels of 1 - the largest cosine of each patch; `parts` has each level's, `levelN`."""
        memory = bank["patches"].transpose(0, 1).flatten(1, 2)
        parts = {
            f"level{level}": nearest(tokens.levels[level].flatten(0, 1), of).reshape(-1, self.side, self.side)
            for level, of in zip(self.levels, memory, strict=True)
        }
        grid = torch.stack([*parts.values()]).sum(dim=0)
        return Answer(grid, grid.flatten(1).amax(dim=1), parts)

    def combine(self, scores: Scores, answer: Answer, *, bank: Bank, normal: NormalScores, smooth: bool) -> Scores:
        """The sum of both maps; half the head's image score and half the sum's largest value, over the levels.

        Published, that value is stretched to 0 to 1 over the whole test set of the class, which one image cannot know.
        """
        maps = scores.maps + upsampled(answer.grid[:, None], scores.maps.shape[-1])[:, 0]
        peaks = maps.flatten(1).amax(dim=1) / len(self.levels)
        return Scores(scores.grid + answer.grid, maps, (scores.detection + peaks) / 2)
