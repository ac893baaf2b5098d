"""Throw-away heads and the losses of pretraining. Only the two towers are kept."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARPNESS = 2.0  # of the pooling over patches: between the mean (0) and the maximum (infinity)


def contrastive(logits: Tensor, agreement: Tensor) -> Tensor:
    """CLIP's loss, images to captions and back, when several captions fit an image. Both [B, B].

    Each row's target is spread evenly over everything that fits.
    """
    fits = agreement.to(logits.dtype)
    rows = -(F.log_softmax(logits, 1) * fits).sum(1) / fits.sum(1)
    columns = -(F.log_softmax(logits, 0) * fits).sum(0) / fits.sum(0)
    return 0.5 * (rows.mean() + columns.mean())


def by_quarter(scores: Tensor) -> Tensor:
    """Pool patch scores [B, N, C] over the four quarters of the square grid to [B, 4, C] by a soft maximum."""
    side = round(scores.shape[1] ** 0.5)
    grid = scores.view(len(scores), side, side, -1)
    near, far = (side + 1) // 2, side // 2
    parts = (grid[:, :near, :near], grid[:, :near, far:], grid[:, far:, :near], grid[:, far:, far:])
    flat = torch.stack([part.flatten(1, 2) for part in parts], 1)
    count = torch.tensor(float(near * near))
    pooled: Tensor = (torch.logsumexp(SHARPNESS * flat, 2) - count.log()) / SHARPNESS
    return pooled


def mean_token(tokens: Tensor) -> Tensor:
    """Mean of the unit patch tokens [B, D], scaled to entries near 1. `tokens` [B, 1 + N, D], class token first."""
    mean: Tensor = F.normalize(tokens[:, 1:], dim=-1).mean(1) * math.sqrt(tokens.shape[-1])
    return mean


class Heads(nn.Module):
    """Linear heads: surface and defect kind on the class token, defect kind on the mean of the last level's unit patch
    tokens (which is what AA-CLIP's image score reads) and on the patch tokens of each level.

    The patch heads learn from quarters of a crop as wholes: their scores are pooled over each quarter.
    """

    def __init__(self, width: int, levels: tuple[int, ...], surfaces: int, kinds: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.surface = nn.Linear(width, surfaces)
        self.kind = nn.Linear(width, kinds + 1)
        self.mean_kind = nn.Linear(width, kinds + 1)
        self.patch = nn.ModuleDict({str(level): nn.Linear(width, kinds + 1) for level in levels})

    def losses(self, tokens: dict[int, Tensor], surface: Tensor, kind: Tensor, quarters: Tensor) -> dict[str, Tensor]:
        """Loss terms by name. `tokens` [B, 1 + N, D] a level; `surface`, `kind` [B]; `quarters` [B, 4] in -1, 0, 1."""
        last = tokens[max(tokens)][:, 0]
        terms = {
            "surface": F.cross_entropy(self.surface(last), surface),
            "kind": F.cross_entropy(self.kind(last), kind),
            "mean_kind": F.cross_entropy(self.mean_kind(mean_token(tokens[max(tokens)])), kind),
        }
        target = torch.zeros(*quarters.shape, self.kinds + 1)
        shows = (quarters == 1).float()
        target[..., -1] = shows
        target.scatter_(2, kind.clamp(max=self.kinds - 1)[:, None, None].expand(-1, 4, 1), shows[..., None])
        said = (quarters >= 0).float()
        for level, head in self.patch.items():
            pooled = by_quarter(head(tokens[int(level)][:, 1:]))
            each = F.binary_cross_entropy_with_logits(pooled, target, reduction="none")
            weighted = each[..., -1] + 0.5 * each[..., :-1].sum(-1)
            terms[f"patches_{level}"] = (weighted * said).sum() / said.sum().clamp(min=1.0)
        return terms
