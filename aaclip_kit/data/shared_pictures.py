"""Pictures that are there twice, as files and as copies, within one data set and between two."""

from collections.abc import Container, Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from ..contracts.data import Sample
from ..contracts.errors import plain
from .copies import near_pairs, same_pixels
from .scan import DatasetScan, FileFacts

_Pair = tuple[Sample, FileFacts]
Paths = tuple[Path, Path]


def copies_within(scan: DatasetScan) -> tuple[list[Path], list[str], list[Paths]]:
    """Images whose picture an earlier one has; those with another label than it; pairs that look like copies."""
    first: dict[str, _Pair] = {}
    pairs = [(first.setdefault(pair[1].pixels, pair), pair) for pair in scan.pairs]
    same = [(one[0], other[0]) for one, other in pairs if one is not other and _same_picture(one, other)]
    opposed = [f"{one.image} and {other.image}" for one, other in same if one.label != other.label]
    return [other.image for _, other in same], opposed, near_copies(scan, scan)


def shared_pictures(first: DatasetScan, second: DatasetScan) -> dict[str, Paths]:
    """Images of the second that hold the same picture as one of the first, which comes first, by their checksum."""
    known = {pair[1].pixels: pair for pair in first.pairs}
    both = ((known[pair[1].pixels], pair) for pair in second.pairs if pair[1].pixels in known)
    return {mine[1].pixels: (mine[0].image, pair[0].image) for mine, pair in both if _same_picture(mine, pair)}


def _same_picture(one: _Pair, other: _Pair) -> bool:
    # The checksum of pixels has not looked at all of them.
    return one[1].image == other[1].image or same_pixels(one[0].image, other[0].image)


def near_copies(first: DatasetScan, second: DatasetScan, same: Container[str] = ()) -> list[Paths]:
    """Pairs that look like copies, without `same`: checksums of the second's pictures that are shared already."""
    mine = _different(first)
    theirs = mine if second is first else [pair for pair in _different(second) if pair[1].pixels not in same]
    if not (mine and theirs):
        return []
    looks = np.array([facts.look for _, facts in mine])
    others = looks if theirs is mine else np.array([facts.look for _, facts in theirs])
    return [(mine[one][0].image, theirs[other][0].image) for one, other in near_pairs(looks, others)]


def _different(scan: DatasetScan) -> list[_Pair]:
    """The first image of each picture: one that is there twice would have no neighbour but itself."""
    return list({pair[1].pixels: pair for pair in reversed(scan.pairs)}.values())[::-1]


def first_pairs(pairs: Iterable[Paths]) -> str:
    """The first of them, in words."""
    return ", ".join(plain(f"{one} = {other}") for one, other in islice(pairs, 3))
