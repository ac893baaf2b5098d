"""The losses of pretraining, and a throw-away read-out. Only the two towers are kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARPNESS = 4.0  # of the pooling over patches: between the mean (0) and the maximum (infinity)
TEMPERATURE = 100.0  # of the method
SHOWS = 0.3
"""Part of a patch from which on it counts as wholly covered."""


def contrastive(logits: Tensor, agreement: Tensor) -> Tensor:
    """CLIP's loss, images to captions and back, when several captions fit an image. Both [B, B].

    Each row's target is spread evenly over everything that fits.
    """
    fits = agreement.to(logits.dtype)
    rows = -(F.log_softmax(logits, 1) * fits).sum(1) / fits.sum(1)
    columns = -(F.log_softmax(logits, 0) * fits).sum(0) / fits.sum(0)
    return 0.5 * (rows.mean() + columns.mean())


class Readout(nn.Module):
    """Scale and offset of the similarities to texts, and a layer a level that gives the stem's features back."""

    def __init__(self, width: int, channels: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.offset = nn.Parameter(torch.tensor([-2.0, 0.0]))
        self.stem = nn.ModuleDict({str(level): nn.Linear(width, channels) for level in levels})
        self.settled = False
        """Whether patches are compared at the method's temperature, without an offset, and not at the learnt ones."""

    def losses(
        self, features: Tensor, tokens: dict[int, Tensor], proj: Tensor, direction: Tensor, covered: Tensor
    ) -> dict[str, Tensor]:
        """Loss terms by name: which patches, and which pictures, are nearer to "damaged" than to "normal".

        `features` are the stem's [B, N, C]; `tokens` of each level [B, 1 + N, D]; `direction` [B, E] is the text
        feature of "damaged" less that of "normal"; `covered` [B, N] the part of each patch that a defect covers.
        """
        scale, offset = (TEMPERATURE, 0.0) if self.settled else (self.scale.exp(), self.offset[0])
        toward = {
            level: scale * (F.normalize(x @ proj, dim=-1) @ direction[..., None])[..., 0] for level, x in tokens.items()
        }
        target, damaged = (covered / SHOWS).clamp(max=1.0), (covered.amax(1) > 0).float()
        patches = [F.binary_cross_entropy_with_logits(t[:, 1:] + offset, target) for t in toward.values()]
        mean = torch.stack([t[:, 1:] for t in toward.values()]).mean(0)
        peak = torch.logsumexp(SHARPNESS * mean, 1) / SHARPNESS
        given = [self._given_back(features, self.stem[str(level)](x[:, 1:])) for level, x in tokens.items()]
        return {
            "patches": torch.stack(patches).mean(),
            "peak": F.binary_cross_entropy_with_logits(peak + self.offset[1], damaged),
            # The frozen map adds the class token's similarity to every patch's: it is not to tell of the state.
            "token": toward[max(tokens)][:, 0].square().mean(),
            "stem": torch.stack(given).mean(),
        }

    @staticmethod
    def _given_back(features: Tensor, given: Tensor) -> Tensor:
        similar = F.cosine_similarity(features, given, dim=-1).mean()
        return F.smooth_l1_loss(given, features) + 0.5 * (1.0 - similar)
