"""How far an image's patches are from each of some images, kept so that one of these can be left out later."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Nearest:
    """Of each patch the cosines that its nearest stored patches can be chosen from, whichever owner is left out.

    An owner has `neighbours` of the nearest at most: of twice as many, enough are left without it. `owners` says whose
    each is.
    """

    cosines: Float[Tensor, "L N m"]
    owners: Int[Tensor, "L N m"]
    neighbours: int

    @classmethod
    def of(
        cls,
        image: Float[Tensor, "L N D"],
        stored: Float[Tensor, "k L n D"],
        owners: Sequence[int],
        own: int,
        neighbours: int,
    ) -> "Nearest":
        """Compare an image with all that are stored, in unit length, but the one at `own`, which it is itself.

        `owners` says what each that is stored belongs to: all of an owner's are left out together.
        """
        queries = functional.normalize(image.float(), dim=-1)
        best, found = list[Tensor](), list[int]()
        with torch.autocast(image.device.type, enabled=False):
            for owner, group in groupby(range(len(owners)), owners.__getitem__):
                places = list(group)
                if others := [place for place in places if place != own]:
                    # A run of images is no copy.
                    of_owner = stored[others] if own in places else stored[places[0] : places[-1] + 1]
                    cosines = queries @ of_owner.transpose(0, 1).flatten(1, 2).mT
                    best.append(_largest(cosines, min(neighbours, cosines.shape[2])))
                    found += [owner] * best[-1].shape[2]
        cosines = torch.cat(best, dim=2)
        top = cosines.topk(min(2 * neighbours, cosines.shape[2]), dim=2)
        return cls(top.values, torch.tensor(found, device=image.device)[top.indices], neighbours)

    def only(self, rows: Int[Tensor, " p"]) -> "Nearest":
        """The same of some of the patches."""
        rows = rows.to(self.cosines.device)
        return Nearest(self.cosines[:, rows], self.owners[:, rows], self.neighbours)

    def without(self, owner: int | None = None) -> Float[Tensor, " N"]:
        """Mean distance to the nearest patches, and over the levels, with what belongs to an owner left out."""
        cosines = self.cosines if owner is None else self.cosines.masked_fill(self.owners == owner, -torch.inf)
        best = _largest(cosines, min(self.neighbours, cosines.shape[2]))
        near = best.isfinite()
        distances = (1 - best.clamp(max=1.0)).where(near, 0.0).sum(dim=2) / near.sum(dim=2)
        return distances.mean(dim=0)


def _largest(cosines: Float[Tensor, "L N n"], count: int) -> Float[Tensor, "L N m"]:
    # The search for a single one is several times as fast as that for the largest few.
    return cosines.amax(dim=2, keepdim=True) if count == 1 else cosines.topk(count, dim=2).values
