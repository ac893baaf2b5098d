"""Normal images scored by the memory of all the others: what thresholds can be chosen on where there are no more."""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from ..contracts.data import DataSet, Sample
from ..contracts.head import ImageTokens, Scores
from ..contracts.options import TowerName
from ..contracts.reference import Answer, Bank, NormalScores
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
    evaluator: Evaluator,
    data: DataSet,
    attending: Set[TowerName],
    trained: bool,
    *,
    whole_of: Callable[[Sample], Sample],
    scored: Callable[[Sequence[Sample], Scores], tuple[float, float]],
    before_each: Callable[[], None],
) -> LeftOut:
    """Remember images of one class, two at least, and score each by the memory of the others.

    The data set holds the images, or their parts, those of one after another: `whole_of` says which image a sample is
    of, and `scored` makes one image score and one largest map value of what its samples have.
    What the head says of normal images is that of the others too, so that an image has no part in what it is scored by.
    `before_each` is called for each sample and image, and wherever the memory may be ended; what it raises ends it.
    Raises `UserError` for images that no bank can be made of.
    """
    reference, (name,) = evaluator.model.reference, data.classes
    assert reference is not None
    pairs = []
    for pair in evaluator.head_and_tokens(data, name, attending, trained):
        before_each()
        pairs.append(pair)
    parts = [list(of) for _, of in groupby(zip(data.samples, pairs, strict=True), lambda part: whole_of(part[0]))]
    heads = [_scores_of([head for _, (head, _) in of]) for of in parts]
    tokens = [_tokens_of([tokens for _, (_, tokens) in of]) for of in parts]
    grids, detections = (torch.cat([getattr(head, of) for head in heads]) for of in ("grid", "detection"))
    owners = torch.repeat_interleave(torch.tensor([len(of) for of in parts]))
    found = []
    for place, (bank, answer) in enumerate(_each(reference.left_out(tokens), before_each)):
        said = NormalScores.of(grids[owners != place], detections[owners != place])
        scores = reference.combine(heads[place], answer, bank=bank, normal=said, smooth=evaluator.table.blur)
        found.append(scored([sample for sample, _ in parts[place]], scores))
    digests = tuple(sorted({sample.checksums[0] for sample in data.samples}))
    normal = {name: NormalScores.of(grids, detections)}
    references = References({name: reference.fill(tokens)}, {name: digests}, normal)
    images, peaks = zip(*found, strict=True)
    return LeftOut(replace(evaluator, references=references), images, peaks)


def _each(
    left_out: Iterator[tuple[Bank, Answer] | None], before_each: Callable[[], None]
) -> Iterator[tuple[Bank, Answer]]:
    for answered in left_out:
        before_each()
        if answered is not None:
            yield answered


def _scores_of(parts: Sequence[Scores]) -> Scores:
    return Scores(*(torch.cat([getattr(part, of) for part in parts]) for of in ("grid", "maps", "detection")))


def _tokens_of(parts: Sequence[ImageTokens]) -> ImageTokens:
    classes = [part.class_embedding for part in parts if part.class_embedding is not None]
    windows = [part.windows for part in parts if part.windows is not None]
    return ImageTokens(
        _joined([part.levels for part in parts]), torch.cat(classes) if classes else None, _joined(windows) or None
    )


def _joined(parts: Sequence[dict[int, Tensor]]) -> dict[int, Tensor]:
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]} if parts else {}
