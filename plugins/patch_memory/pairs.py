"""How far an image's patches are from each of some images, kept so that one of these can be left out later."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Nearest:
    """Of each patch the cosines that its nearest stored patches can be chosen from, whichever image is left out.

    An image has `neighbours` of the nearest at most: of twice as many, enough are left without it. `owners` says which
    image each is of.
    """

    cosines: Float[Tensor, "L N m"]
    owners: Int[Tensor, "L N m"]
    neighbours: int

    @classmethod
    def of(
        cls, image: Float[Tensor, "L N D"], stored: Float[Tensor, "k L n D"], own: int, neighbours: int
    ) -> "Nearest":
        """Compare an image with all that are stored but the one at `own`, which it is itself; one after another."""
        queries, (count, _, patches, _) = functional.normalize(image.float(), dim=-1), stored.shape
        most, places = min(neighbours, patches), [place for place in range(count) if place != own]
        with torch.autocast(image.device.type, enabled=False):
            pairs = (queries @ functional.normalize(stored[place].float(), dim=-1).mT for place in places)
            cosines = torch.cat([_largest(pair, most) for pair in pairs], dim=2)
        owners = torch.tensor(places, device=image.device).repeat_interleave(most)
        best = cosines.topk(min(2 * neighbours, cosines.shape[2]), dim=2)
        return cls(best.values, owners[best.indices], neighbours)

    def only(self, rows: Int[Tensor, " p"]) -> "Nearest":
        """The same of some of the patches."""
        rows = rows.to(self.cosines.device)
        return Nearest(self.cosines[:, rows], self.owners[:, rows], self.neighbours)

    def without(self, place: int | None = None) -> Float[Tensor, " N"]:
        """Mean distance to the nearest patches, and over the levels, with the image at `place` left out."""
        cosines = self.cosines if place is None else self.cosines.masked_fill(self.owners == place, -torch.inf)
        best = _largest(cosines, min(self.neighbours, cosines.shape[2]))
        near = best.isfinite()
        distances = (1 - best.clamp(max=1.0)).where(near, 0.0).sum(dim=2) / near.sum(dim=2)
        return distances.mean(dim=0)


def _largest(cosines: Float[Tensor, "L N n"], count: int) -> Float[Tensor, "L N m"]:
    # The search for a single one is several times as fast as that for the largest few.
    return cosines.amax(dim=2, keepdim=True) if count == 1 else cosines.topk(count, dim=2).values
