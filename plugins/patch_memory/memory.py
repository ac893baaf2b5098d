"""The memory itself: patches kept by image, distances to the nearest ones, and their scale by leaving one image out."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from aaclip_kit import (
    Answer,
    Bank,
    ImageTokens,
    NormalScores,
    Reads,
    Reference,
    ReferenceSetting,
    Scores,
    UserError,
    gaussian_filter,
    nearest,
    spread_out,
    upsampled,
)  # fmt: skip

from . import PatchMemoryOptions
from .pairs import Nearest

PROBES: Final = 64
"""Patches of each image that are compared with the other images to find how far normal ones are."""

LEAST_DEVIATION: Final = 1e-6
"""Distances of normal images that differ by less are all alike: rounding is as large."""


LEAST_UNIT: Final = 0.01
"""Deviation of the head's image scores that is taken where so few images, or a single one, show a smaller one."""


class PatchMemory(Reference):
    """The patches of each image, its upper and its lower half apart, in an order that their numbers decide.

    A bank holds `patches` [k, levels, n, D], `probes` [k, levels, p, D], and `scale`, the mean and the deviation of
    the probes' distances to the other images; with one image, of those of each half to the other half.
    """

    def __init__(self, options: PatchMemoryOptions, setting: ReferenceSetting) -> None:
        super().__init__()
        self.options, self.levels = options, options.levels or setting.levels
        self.reads = Reads(normed=options.tokens != "raw", projected=options.tokens == "projected")
        self.bank_depends_on = options.model_dump(include={"coreset", "seed", "neighbours"})
        self.side, count = setting.backbone.grid, setting.backbone.grid**2
        self.halves = (count - count // 2, count // 2)
        self.kept = tuple(max(1, round(options.coreset * half)) for half in self.halves)
        self.probed = torch.linspace(0, count - 1, min(PROBES, count)).round().long()

    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Bank:
        """Keep patches of each image, sort the images by what is kept of them, and measure the scale."""
        kept = [] if bank is None else [*zip(bank["patches"], bank["probes"], strict=True)]
        kept += [self._of_image(one) for tokens in images for one in self._each(tokens)]
        kept.sort(key=lambda image: self.rank(image[0]))
        patches, probes = (torch.stack(part) for part in zip(*kept, strict=True))
        return {"patches": patches, "probes": probes, "scale": self._scale(patches, probes)}

    def _each(self, tokens: ImageTokens) -> Iterator[Float[Tensor, "L N D"]]:
        yield from torch.stack([tokens.levels[level].float() for level in self.levels], dim=1)

    def _of_image(self, image: Float[Tensor, "L N D"]) -> tuple[Float[Tensor, "L n D"], Float[Tensor, "L p D"]]:
        patches = torch.stack([self._chosen(level) for level in image])
        return patches, image[:, self.probed.to(image.device)]

    def _chosen(self, level: Float[Tensor, "N D"]) -> Float[Tensor, "n D"]:
        halves = zip(level.split(self.halves), self.kept, strict=True)
        return torch.cat([half[spread_out(half, count, self.options.seed)] for half, count in halves])

    def _scale(self, patches: Float[Tensor, "k L n D"], probes: Float[Tensor, "k L p D"]) -> Float[Tensor, " 2"]:
        """Mean and deviation of how far each image's probes are from the other images. Raises `UserError`."""
        if len(patches) == 1:
            found = self._between_halves(patches[0], probes[0])
        else:
            stored, each = functional.normalize(patches.float(), dim=-1), range(len(patches))
            every = (Nearest.of(probes[place], stored, each, place, self.options.neighbours) for place in each)
            found = [one.without() for one in every]
        return self._scale_of(torch.stack(found))

    def _scale_of(self, distances: Float[Tensor, "k p"]) -> Float[Tensor, " 2"]:
        if distances.std(correction=0) < LEAST_DEVIATION:
            fix = "give photographs of several parts, none of them a copy of another"
            raise UserError("the reference images are all alike", fix=fix)
        return torch.stack([distances.mean(), distances.std(correction=0)])

    def _between_halves(
        self, patches: Float[Tensor, "L n D"], probes: Float[Tensor, "L p D"]
    ) -> list[Float[Tensor, " p"]]:
        upper, lower = patches.split(self.kept, dim=1)
        first = int((self.probed < self.halves[0]).sum())
        pairs = ((probes[:, :first], lower), (probes[:, first:], upper))
        return [torch.cat([self._distances(own, other[None]) for own, other in pairs])]

    def _distances(self, queries: Float[Tensor, "L q D"], stored: Float[Tensor, "k L n D"]) -> Float[Tensor, " q"]:
        """Mean over the levels of how far each is from the nearest stored ones of its level."""
        levels = zip(queries, stored.transpose(0, 1).flatten(1, 2), strict=True)
        return torch.stack([nearest(own, of, self.options.neighbours) for own, of in levels]).mean(dim=0)

    def answer(self, bank: Bank, tokens: ImageTokens) -> Answer:
        """Distances of all patches to the nearest remembered ones, the mean over the levels; the largest of each."""
        levels = torch.stack([tokens.levels[level] for level in self.levels])
        grid = self._distances(levels.flatten(1, 2), bank["patches"]).reshape(-1, self.side, self.side)
        return Answer(grid, grid.flatten(1).amax(dim=1))

    def left_out(self, images: Sequence[ImageTokens]) -> Iterator[tuple[Bank, Answer] | None]:
        """See `Reference`: each image is compared with each other one once, in the place of once for each bank."""
        every = [list(self._each(image)) for image in images]
        owners = [owner for owner, wholes in enumerate(every) for _ in wholes]
        if any(len(owners) - owners.count(owner) == 1 for owner in range(len(images))):
            yield from super().left_out(images)  # the scale of a single image is another
            return
        wholes = list(chain.from_iterable(every))
        kept = functional.normalize(torch.stack([self._of_image(whole)[0] for whole in wholes]).float(), dim=-1)
        found = list[Nearest]()
        for place, whole in enumerate(wholes):
            yield None
            found.append(Nearest.of(whole, kept, owners, place, self.options.neighbours))
        probes = [one.only(self.probed) for one in found]
        for place in range(len(images)):
            others = [probe.without(place) for owner, probe in zip(owners, probes, strict=True) if owner != place]
            own = [one.without(place) for owner, one in zip(owners, found, strict=True) if owner == place]
            grid = torch.stack(own).reshape(-1, self.side, self.side)
            yield {"scale": self._scale_of(torch.stack(others))}, Answer(grid, grid.flatten(1).amax(dim=1))

    def combine(self, scores: Scores, answer: Answer, *, bank: Bank, normal: NormalScores, smooth: bool) -> Scores:
        """Bring distances to the scale that the head has on normal images; add them to the head's, or to its mean."""
        mean, deviation = bank["scale"]
        size, grid = scores.maps.shape[-1], (answer.grid - mean) / deviation
        maps = upsampled(grid[:, None], size, align_corners=False)[:, 0]
        if smooth and self.options.sigma:
            maps = gaussian_filter(maps, self.options.sigma * size / self.side)
        detection = (answer.detection - mean) / deviation
        image_unit = max(normal.image_deviation, LEAST_UNIT)
        if self.options.combine == "alone":
            grid, maps = (normal.grid_mean + normal.grid_deviation * of for of in (grid, maps))
            return Scores(grid, maps, normal.image_mean + image_unit * detection)
        patch_unit, image_unit = self.options.weight * normal.grid_deviation, self.options.weight * image_unit
        grid, maps = scores.grid + patch_unit * grid, scores.maps + patch_unit * maps
        return Scores(grid, maps, scores.detection + image_unit * detection)
