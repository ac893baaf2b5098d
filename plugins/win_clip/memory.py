"""The few-shot memory of WinCLIP: patches and windows, associated and averaged (docs/guide/methods.md)."""

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

from . import WinClipMemoryOptions
from .head import window_map


class WinClipMemory(Reference):
    """Normed patches of the last block, and embeddings of all windows, of every image; any place answers for any."""

    def __init__(self, options: WinClipMemoryOptions, setting: ReferenceSetting) -> None:
        super().__init__()
        self.reads, self.levels = Reads(windows=options.scales), (setting.backbone.vision.depth,)
        self.side = setting.backbone.grid

    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Bank:
        """Keep `patches` [k, N, D] and `windowS` [k, W, E] of each side S, in an order that numbers decide."""
        kept = [] if bank is None else _rows(bank)
        kept += [image for tokens in images for image in _rows(self._parts(tokens))]
        kept.sort(key=lambda image: self.rank(image["patches"]))
        return {name: torch.stack([image[name] for image in kept]) for name in kept[0]}

    def _parts(self, tokens: ImageTokens) -> Bank:
        assert tokens.windows is not None
        windows = {f"window{side}": one.float() for side, one in tokens.windows.items()}
        return {"patches": tokens.levels[self.levels[0]].float(), **windows}

    def answer(self, bank: Bank, tokens: ImageTokens) -> Answer:
        """The mean of the association maps; `parts` has half the distance of each patch and window, and each map."""
        parts = {name: _halved(of, bank[name]) for name, of in self._parts(tokens).items()}
        maps = {"patches": parts["patches"].unflatten(1, (self.side, self.side))}
        maps |= {f"window{side}": window_map(parts[f"window{side}"], self.side, side) for side in self.reads.windows}
        grid = torch.stack([*maps.values()]).mean(dim=0)
        parts |= {f"map of {name}": of for name, of in maps.items()}
        return Answer(grid, grid.flatten(1).amax(dim=1), parts)

    def combine(self, scores: Scores, answer: Answer, *, bank: Bank, normal: NormalScores, smooth: bool) -> Scores:
        """The means of both maps and of both image scores, the memory's being its largest value on the grid."""
        maps = upsampled(answer.grid[:, None], scores.maps.shape[-1], align_corners=False)[:, 0]
        grid, maps = (scores.grid + answer.grid) / 2, (scores.maps + maps) / 2
        return Scores(grid, maps, (scores.detection + answer.detection) / 2)


def _rows(parts: Bank) -> list[Bank]:
    return [{name: one[row] for name, one in parts.items()} for row in range(len(parts["patches"]))]


def _halved(vectors: Float[Tensor, "B n D"], stored: Float[Tensor, "k n D"]) -> Float[Tensor, "B n"]:
    """(1 - cosine) / 2 to the nearest stored vector, of any place and any image; never below 0."""
    return nearest(vectors.flatten(0, 1), stored.flatten(0, 1)).unflatten(0, vectors.shape[:2]) / 2
