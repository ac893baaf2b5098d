"""Normal images scored by the memory of all the others: what thresholds can be chosen on where there are no more."""

from collections.abc import Callable, Set
from dataclasses import dataclass, replace

import torch

from ..contracts.data import DataSet
from ..contracts.options import TowerName
from ..contracts.reference import NormalScores
from .evaluator import Evaluator
from .references import References


@dataclass(frozen=True)
class LeftOut:
    """The evaluator that remembers all images; image score and largest map value of each by the others, in order."""

    evaluator: Evaluator
    image_scores: tuple[float, ...]
    peaks: tuple[float, ...]


@torch.no_grad()
def leave_one_out(
    evaluator: Evaluator, data: DataSet, attending: Set[TowerName], trained: bool, before_each: Callable[[], None]
) -> LeftOut:
    """Remember the images of a data set of one class, two at least, and score each by the memory of the others.

    What the head says of normal images is that of the others too, so that an image has no part in what it is scored by.
    `before_each` is called for each image; what it raises ends the work.
    Raises `UserError` for images that no bank can be made of.
    """
    reference, (name,) = evaluator.model.reference, data.classes
    assert reference is not None
    pairs = []
    for pair in evaluator.head_and_tokens(data, name, attending, trained):
        before_each()
        pairs.append(pair)
    heads, tokens = zip(*pairs, strict=True)
    grids, detections = (torch.cat([getattr(head, of) for head in heads]) for of in ("grid", "detection"))
    found = []
    for place, (bank, answer) in enumerate(reference.left_out(tokens)):
        before_each()
        others = torch.arange(len(heads)) != place
        said = NormalScores.of(grids[others], detections[others])
        scores = reference.combine(heads[place], answer, bank=bank, normal=said, smooth=evaluator.table.blur)
        found.append((float(evaluator.image_scores(scores)), float(scores.map_peak)))
    digests = tuple(sorted(sample.checksums[0] for sample in data.samples))
    normal = {name: NormalScores.of(grids, detections)}
    references = References({name: reference.fill(tokens)}, {name: digests}, normal)
    images, peaks = zip(*found, strict=True)
    return LeftOut(replace(evaluator, references=references), images, peaks)
