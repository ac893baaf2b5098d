"""Many images, scored a block at a time, so that memory holds one block of them however many there are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nlargest
from pathlib import Path

from ..checkpoints.stored_thresholds import Thresholds
from ..contracts.data import DataSet, Domain, Sample
from ..contracts.errors import UserError
from ..data.checks import MOST_SHOWN, first_faults
from ..data.manifests import Listed
from ..data.scan import DatasetScan
from ..evaluation.calibration import Tiles
from .arrivals import FileState, state_of
from .load_model import TrainedModel
from .looked_at import SAME_SIZE, LookedAt
from .prediction import UNNAMED, Prediction
from .results_folder import Line, Results


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How images are scored: what they are called, of which domain they are, and from where they are anomalous.

    Regions of fewer pixels than `least_area` are not in a mask, nor what lies outside of `looked_at`. With `tiles`
    images are cut.
    """

    thresholds: Thresholds
    class_name: str | None = None
    real_name: str | None = None
    domain: Domain = "industrial"
    least_area: int = 1
    looked_at: LookedAt | None = None
    tiles: Tiles | None = None

    def class_of(self, item: Listed) -> str:
        """Return the class that an image is looked at as."""
        return self.class_name or item.class_name or UNNAMED


@dataclass
class Tally:
    """What came of images: how many were scored, how many cannot be and the first of these, and of which to tell.

    Those are images with `previews`, and those that the model has `remembered`. Of results that are gone on with, some
    images `had_line`, some have `changed` since and are scored anew, and of `unstated` lines that cannot be known.
    """

    scored: int = 0
    bad: int = 0
    first_faults: list[UserError] = field(default_factory=list)
    previews: list[Path] = field(default_factory=list)
    remembered: list[Path] = field(default_factory=list)
    worst: list[Line] = field(default_factory=list)
    had_line: int = 0
    changed: int = 0
    unstated: int = 0

    def add_lines(self, lines: Sequence[Line]) -> None:
        """Count lines of scores, and keep the worst."""
        self.scored += len(lines)
        self.worst = nlargest(MOST_SHOWN, [*self.worst, *lines], key=lambda line: line["score"])

    def add_results(self, results: Results) -> None:
        """Count the images that have a line already, and those that had one of a file that has changed since."""
        self.had_line, self.changed, self.unstated = results.had_line, len(results.changed), results.unstated

    def add_faults(self, faults: Sequence[UserError]) -> None:
        """Count faults, and keep the first."""
        self.bad += len(faults)
        self.first_faults += faults[: MOST_SHOWN - len(self.first_faults)]

    @classmethod
    def of_all(cls, parts: Sequence["Tally"]) -> "Tally":
        """Return what came of all images, of which each tally counts some, in order."""
        faults = [fault for part in parts for fault in part.first_faults][:MOST_SHOWN]
        worst = nlargest(MOST_SHOWN, (line for part in parts for line in part.worst), key=lambda line: line["score"])
        return cls(
            scored=sum(part.scored for part in parts),
            bad=sum(part.bad for part in parts),
            first_faults=faults,
            previews=[image for part in parts for image in part.previews],
            remembered=[image for part in parts for image in part.remembered],
            worst=worst,
            had_line=sum(part.had_line for part in parts),
            changed=sum(part.changed for part in parts),
            unstated=sum(part.unstated for part in parts),
        )

    def is_good(self, skip: bool, append: bool) -> bool:
        """Whether no image is bad or, where those are skipped, any is left or may come."""
        return not self.bad or (skip and (append or self.scored > 0))

    @property
    def faults(self) -> list[UserError]:
        """Return the first faults, and one line with the number of the others; one fault for a mask of another size."""
        first = self.first_faults
        if len(first) > 1 and first[0].fix == SAME_SIZE and len({fault.problem for fault in first}) == 1:
            problem = f"{first[0].problem}; {self.bad - 1:,} more images cannot be used"
            return [UserError(problem, where=first[0].where, fix=SAME_SIZE)]
        return first_faults(self.first_faults, self.bad)


def real_names(model: TrainedModel, listed: Sequence[Listed], scoring: Scoring) -> dict[str, str]:
    """Return what prompts call each class of the images."""
    names = dict.fromkeys(scoring.class_of(item) for item in listed)
    return {name: scoring.real_name or model.real_name(name) for name in names}


def own_share(model: TrainedModel, count: int) -> range:
    """Return the places of the images that this rank scores: a contiguous run of whole batches."""
    batch = model.evaluator.table.batch_size
    own = model.evaluator.ranks.own(range(0, count, batch))
    return range(own[0], min(own[-1] + batch, count)) if own else range(0)


@dataclass(frozen=True)
class Block:
    """Some of the images: the sound ones in order, their scores, to be taken before the next block, and faults.

    `states` are those of the files just before they were read.
    """

    samples: tuple[Sample, ...]
    predictions: Iterator[Prediction]
    faults: Sequence[UserError]
    states: Mapping[Path, FileState] = field(default_factory=dict)


def in_blocks(
    model: TrainedModel,
    listed: Sequence[Listed],
    scoring: Scoring,
    tally: Tally,
    *,
    skip: bool,
    before_each: Callable[[], None],
) -> Iterator[Block]:
    """Read and score a block of images after another, each page of a file that has several.

    Unless faults are to be skipped, nothing more is scored after one, and the other images are still read.
    `before_each` is called for each image, by several threads.
    """
    size = model.block_size
    for first in range(0, len(listed), size):
        block, decoded = listed[first : first + size], model.decoded(scoring.tiles)
        samples = tuple(Sample(item.image, scoring.class_of(item), 0) for item in block)
        states = {item.image: state_of(item.image) for item in block}
        data = DataSet(samples, real_names(model, block, scoring), scoring.domain)
        scan = _fitting(model.scan(data, decoded, each_page=True, before_each=before_each), scoring.looked_at)
        tally.add_faults(scan.faults)
        tally.previews += [sample.image for sample, facts in scan.pairs if facts.passed_over]
        known = model.remembered
        tally.remembered += [sample.image for sample, facts in scan.pairs if {facts.image, facts.pixels} & known]
        if not scan.data.samples or (tally.bad and not skip):
            yield Block((), iter(()), scan.faults)
            continue
        sizes = [facts.size for facts in scan.facts]
        predictions = model.predictions(
            scan.data, sizes, scoring.thresholds, decoded, least_area=scoring.least_area, looked_at=scoring.looked_at
        )
        yield Block(scan.data.samples, predictions, scan.faults, states)


def _fitting(scan: DatasetScan, looked_at: LookedAt | None) -> DatasetScan:
    """The scan with a fault for each image that has not the size of what is looked at."""
    if looked_at is None:
        return scan
    faults = [looked_at.fault(sample.image, facts.size) for sample, facts in scan.pairs]
    sound = scan.only(pair for pair, fault in zip(scan.pairs, faults, strict=True) if fault is None)
    return replace(sound, faults=(*scan.faults, *(fault for fault in faults if fault is not None)))
