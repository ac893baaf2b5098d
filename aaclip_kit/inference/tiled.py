"""Photographs cut into tiles, each of which is scored as an image, and put together again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image

from ..checkpoints.find_checkpoint import Trained
from ..checkpoints.stored_thresholds import how_cut
from ..contracts.data import DataSet, Sample
from ..contracts.errors import UserError
from ..data.decode import resized
from ..data.decoded import Decoded, Pair, read_picture
from ..evaluation.calibration import Tiles
from ..evaluation.evaluator import Evaluator, ScoredBatch, image_score
from .full_size_map import BlendedMap, stretched
from .looked_at import LookedAt
from .tile_grid import Box, Grid, as_tiles, grid_for

Floats = Float32[np.ndarray, " B"]
"""A number an image."""

Row = tuple[Sample, Float32[np.ndarray, "S S"], Any, Any, Any]
"""An image, its map, and its scores: without the map, that by the experiment's choice, and the map's largest value."""


def chosen_tiles(trained: Trained, given: Any, where: str = "tiles") -> Tiles | None:
    """Return the tiles that are asked for, by default those that the model remembers.

    Raises `UserError` for what is no number of tiles, and for others than those that a memory is of.
    """
    tiles, remembered = as_tiles(given, where), trained.metadata.about.reference_tiles
    if given is None:
        return remembered
    if trained.experiment.reference is not None and tiles != remembered:
        problem = f"remembers images {how_cut(remembered)}, and what is seen {how_cut(tiles)} is not like them"
        fix = f"leave out {where}, or teach a model with {where} {given}"
        raise UserError(problem, where=str(trained.checkpoint), fix=fix)
    return tiles


def image_scores(evaluator: Evaluator, detection: Floats, peaks: Floats) -> Floats:
    """One score an image, by the experiment's choice, of scores without the maps and of the maps' largest values."""
    choice, largest = evaluator.table.image_score, torch.from_numpy(peaks)
    return image_score(choice, torch.from_numpy(detection), largest, evaluator.model.head).numpy()


class Scored(NamedTuple):
    """What an image's prediction is made of: the map has the image's size."""

    image: Path
    score: float
    peak: float
    anomaly_map: Float32[np.ndarray, "H W"]


class _Tile(NamedTuple):
    photograph: Sample
    grid: Grid
    box: Box


class Tiled(Decoded):
    """Reads tiles: a photograph is opened when the first of its tiles is read, and kept until another one is.

    Photographs that are in no file are held from the beginning.
    """

    def __init__(self, tiles: Tiles, side: int, *, held: bool = False) -> None:
        super().__init__(once=True)
        self.tiles, self.side, self.held = tiles, side, held
        self._pictures, self._parts = dict[Path, Image.Image](), dict[Path, _Tile]()
        self._last: tuple[Path, Image.Image] | None = None

    def __reduce__(self) -> Any:
        return Tiled, (self.tiles, self.side), {"_parts": self._parts}

    def hold(self, image: Path, picture: Image.Image, size: int) -> None:
        """Keep a photograph that is in no file. Raises `UserError` for one of too many tiles."""
        try:
            grid_for(picture.size, self.tiles, self.side)
        except UserError as fault:
            raise UserError(fault.problem, where=str(image), fix=fault.fix) from None
        if self.held:
            self._pictures[image] = picture

    def cut(self, data: DataSet, sizes: Sequence[tuple[int, int]]) -> DataSet:
        """Return the data set of all tiles, those of one photograph after another."""
        samples = list[Sample]()
        for sample, size in zip(data.samples, sizes, strict=True):
            grid = grid_for(size, self.tiles, self.side)
            for number, box in enumerate(grid.boxes, start=1):
                name = sample.image if grid.is_whole else Path(f"{sample.image}, tile {number} of {grid.count}")
                self._parts[name] = _Tile(sample, grid, box)
                samples.append(replace(sample, image=name))
        return replace(data, samples=tuple(samples))

    def read(self, sample: Sample, size: int) -> Pair:
        """A tile at the model's size, and no mask. Raises `UserError` as `read_picture` does."""
        photograph, grid, box = self._parts[sample.image]
        picture = self._picture(photograph)
        tile = picture if grid.is_whole else picture.crop(box)
        return np.asarray(resized(tile, size)), np.zeros((size, size), np.int8)

    def _picture(self, photograph: Sample) -> Image.Image:
        name = photograph.image
        if (held := self._pictures.get(name)) is not None:
            return held
        if self._last is None or self._last[0] != name:
            self._last = None  # two of the largest would be twice the memory
            self._last = name, read_picture(photograph)
        return self._last[1]

    def whole_of(self, sample: Sample) -> Sample:
        """Return the photograph that a tile is of."""
        return self._parts[sample.image].photograph

    def joined(self, rows: Iterable[Row], evaluator: Evaluator, looked_at: LookedAt | None = None) -> Iterator[Scored]:
        """Put the tiles of one class together again.

        An image's score is made of the largest of the scores that its tiles have without the maps, and of the largest
        value of the blended map. An image of one tile has what that has.
        """
        blend: BlendedMap | None = None
        for sample, values, detection, whole, peak in rows:
            photograph, grid, _ = self._parts[sample.image]
            if grid.is_whole:
                yield Scored(photograph.image, float(whole), float(peak), stretched(values, grid.size))
                continue
            blend = blend or BlendedMap(grid, None if looked_at is None else looked_at.pixels)
            blend.add(values, float(detection))
            if blend.is_whole:
                own, peak = (np.array([value], np.float32) for value in (blend.detection, blend.peak))
                score = image_scores(evaluator, own, peak)
                yield Scored(photograph.image, float(score[0]), float(peak[0]), blend.values)
                blend = None


def as_wholes(
    rows: Iterable[Row],
    evaluator: Evaluator,
    decoded: Decoded,
    size_of: Mapping[Sample, tuple[int, int]],
    looked_at: LookedAt | None = None,
) -> Iterator[Scored]:
    """Each image's scores and its map at its own size, whether `decoded` cuts images or not."""
    if isinstance(decoded, Tiled):
        return decoded.joined(rows, evaluator, looked_at)
    return (
        Scored(sample.image, float(score), float(peak), stretched(values, size_of[sample]))
        for sample, values, _, score, peak in rows
    )


def rows_of(batches: Iterable[ScoredBatch]) -> Iterator[Row]:
    """What batches hold of one image, or tile, after another."""
    for batch in batches:
        yield from zip(batch.samples, batch.maps, batch.detection, batch.image_scores, batch.peaks, strict=True)
