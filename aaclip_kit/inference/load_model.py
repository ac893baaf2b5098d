"""A trained model in use: scores, decisions and anomaly maps of new images."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, get_args

from PIL.Image import Image

from ..checkpoints.bank_file import bank_of, read_banks, reference_name
from ..checkpoints.checkpoint import load_into
from ..checkpoints.find_checkpoint import Trained, find_trained
from ..checkpoints.published_layout import number_of
from ..checkpoints.stored_thresholds import Thresholds, stored_thresholds
from ..contracts.data import DataSet, Domain, Sample
from ..contracts.errors import UserError, UserErrors, in_short
from ..contracts.options import TOWERS, TowerName
from ..data.decoded import MOST_KEPT, Decoded
from ..data.loader import Pixels
from ..data.scan import DatasetScan, scan_dataset
from ..distributed.compute_device import ComputeDevice
from ..distributed.ranks import ALONE, Ranks
from ..evaluation.calibration import Tiles, one_by_one
from ..evaluation.evaluator import Evaluator, ScoredBatch
from ..evaluation.references import References
from ..files.plain_file import checksum_of
from ..kernels.norm_matched import why_not_fused
from ..model.anomaly_model import AnomalyModel
from ..model.build import build_model, check_conditioning
from ..model.prompts import PromptBook
from ..plugin_host.discovery import discover
from ..training.loop_plans import attending_after, build_scheduler, plan_ahead
from .given_images import GivenImage, Group, as_picture, block_size, check_several, in_groups
from .looked_at import LookedAt
from .prediction import UNNAMED as UNNAMED
from .prediction import Prediction
from .tiled import Tiled, as_wholes, chosen_tiles, image_scores, rows_of

Sizes = list[tuple[int, int]]
"""Width and height of each image."""


class TrainedModel:
    """A model with trained weights. An image's score depends on that image and on the name of its object alone."""

    def __init__(self, trained: Trained, ranks: Ranks = ALONE, *, remembers: bool = True) -> None:
        """Build the model and load its weights, and what it remembers of normal images, if that is wanted.

        Of several ranks, each then scores its share of the images.
        """
        file = trained.experiment.file
        self.trained, self.compute_device = trained, ComputeDevice.choose(file.device, file.precision, ranks)
        model = build_model(trained.experiment, {UNNAMED: UNNAMED})
        self.model = model.to(self.compute_device.device).requires_grad_(False)
        slots = self.model.slots
        slots.fused = slots.fused and why_not_fused(self.compute_device.device) is None
        self.attending, self.is_trained = _attending(trained), trained.metadata.about.loop != 0
        _load(self.model, trained, self.attending)
        check_conditioning(trained.experiment, self.model.slots)
        evaluator = Evaluator.of(self.model, self.compute_device, Pixels.of(self.model.backbone), file, ranks)
        self.evaluator = replace(evaluator, references=_references(self.model, trained) if remembers else None)
        self._lock = Lock()

    @cached_property
    def remembered(self) -> frozenset[str]:
        """SHA-256 of the images that the memory holds, of each as a file and as pixels."""
        references = self.evaluator.references
        return frozenset() if references is None else references.digests

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the checkpoint's file."""
        return checksum_of(self.trained.checkpoint)

    def metrics(self, data: DataSet) -> dict[str, Any]:
        """Metrics of a labelled data set, as a run writes them for a loop."""
        return self.evaluator_for(data).metrics(data, self.attending, self.is_trained)

    def evaluator_for(self, data: DataSet) -> Evaluator:
        """Return the evaluator with prompts for these classes. Raises `UserError` for one without references."""
        if self.evaluator.references is not None:
            self.evaluator.references.check_known(data.classes, str(self.trained.checkpoint))
        prompts = self.model.prompts
        book = None if prompts is None else PromptBook.of(self.model.backbone, prompts, data.real_names)
        return replace(self.evaluator, prompts=book)

    def domain(self, given: str | None = None) -> Domain:
        """The domain that is given, else that of training. Raises `UserError` for one that is none."""
        known: dict[str, Domain] = {name: name for name in get_args(Domain)}
        chosen = given or self.trained.metadata.about.domain
        if chosen not in known:
            raise UserError(f"'{chosen}' is no domain", where="domain", fix=f"give one of: {', '.join(known)}")
        return known[chosen]

    def real_name(self, name: str) -> str:
        """What prompts call a class: as in training if it was known there, else its name with blanks for "_"."""
        return self.trained.metadata.about.real_names.get(name, name.replace("_", " "))

    @property
    def block_size(self) -> int:
        """How many images are read before the first of them is scored."""
        return block_size(self.evaluator.table.batch_size, self.evaluator.pixels.size)

    def predict(
        self,
        image: GivenImage,
        name: str = UNNAMED,
        domain: str | None = None,
        *,
        least_area: int = 1,
        tiles: Tiles | None = None,
    ) -> Prediction:
        """Score one image, a file or a picture; `name` is what the prompts call the object.

        `domain` is by default that of training; regions of fewer pixels than `least_area` are not in the mask. With
        `tiles` the image is cut into that many squares along its shorter side, or, "auto", into ones of about the
        model's size; a model that remembers tiles cuts images as those. Several threads may use one model. Raises
        `UserError` for a bad image, one of several pages, no domain, and tiles that the model does not remember.
        """
        how = partial(
            self._predicted, name=name, domain=domain, least_area=least_area, tiles=chosen_tiles(self.trained, tiles)
        )
        (prediction,) = how([(1, image)], each_page=False)
        return prediction

    def predict_all(
        self,
        images: Iterable[GivenImage],
        name: str = UNNAMED,
        domain: str | None = None,
        *,
        least_area: int = 1,
        tiles: Tiles | None = None,
    ) -> Iterator[Prediction]:
        """Score images one after another, each page of a file that has several; there may be any number of them.

        They are read in blocks of 128 at most, with `tiles` one by one, the first of them at once. Raises `UserError`
        as `predict` does and for a single image, and `UserErrors` for bad ones before any image of their block is
        scored.
        """
        check_several(images)
        cut = chosen_tiles(self.trained, tiles)
        how = partial(self._predicted, name=name, domain=domain, least_area=least_area, tiles=cut)
        groups = in_groups(images, self.block_size if cut is None else 1)
        scored = (how(group, each_page=True) for group in groups)
        return chain(next(scored, iter(())), chain.from_iterable(scored))

    def _predicted(
        self, group: Group, *, name: str, domain: str | None, least_area: int, tiles: Tiles | None, each_page: bool
    ) -> Iterator[Prediction]:
        chosen = self.domain(domain)
        names = {name: self.real_name(name) if name == UNNAMED else name}
        held = not isinstance(group[0][1], str | Path)
        decoded = self.decoded(tiles, held=held)
        data, sizes = (self._held if held else self._read)(group, DataSet((), names, chosen), decoded, each_page)
        thresholds = stored_thresholds(self.trained, chosen, tiles)
        return self.predictions(data, sizes, thresholds, decoded, least_area=least_area, held=held)

    def decoded(self, tiles: Tiles | None, *, held: bool = False) -> Decoded:
        """Return what images, or their tiles, are read by once they are looked through.

        `held` says that there are no files.
        """
        if tiles is not None:
            return Tiled(tiles, self.evaluator.pixels.size, held=held)
        return Decoded(sys.maxsize if held else MOST_KEPT, once=True)

    def _read(self, group: Group, data: DataSet, decoded: Decoded, each_page: bool) -> tuple[DataSet, Sizes]:
        """Files as a data set, and their sizes. Raises `UserErrors` for bad ones."""
        (name,) = data.real_names
        samples = tuple(Sample(Path(str(image)), name, 0) for _, image in group)
        scan = self.scan(replace(data, samples=samples), decoded, each_page=each_page)
        if scan.faults:
            raise UserErrors(scan.faults)
        return scan.data, [facts.size for facts in scan.facts]

    def _held(self, group: Group, data: DataSet, decoded: Decoded, each_page: bool) -> tuple[DataSet, Sizes]:
        """Pictures as a data set of images that are called by their number, and their sizes. Raises `UserErrors`."""
        (name,), samples, sizes, faults = data.real_names, list[Sample](), Sizes(), list[UserError]()
        for number, image in group:
            sample = Sample(Path(f"image {number}"), name, 0)
            try:
                picture = as_picture(image, str(sample.image))
                decoded.hold(sample.image, picture, self.evaluator.pixels.size)
            except UserError as fault:
                faults.append(fault)
                continue
            samples.append(sample)
            sizes.append(picture.size)
        if faults:
            raise UserErrors(faults)
        return replace(data, samples=tuple(samples)), sizes

    def scan(
        self, data: DataSet, decoded: Decoded, *, each_page: bool, before_each: Callable[[], None] = lambda: None
    ) -> DatasetScan:
        """Read and decode each image, or each page of each, and hold it at the model's size until it is scored."""
        size = self.evaluator.pixels.size

        def hold(image: Path, picture: Image) -> None:
            before_each()
            decoded.hold(image, picture, size)

        return scan_dataset(data, hold, each_page=each_page)

    def predictions(
        self,
        data: DataSet,
        sizes: Sequence[tuple[int, int]],
        thresholds: Thresholds,
        decoded: Decoded,
        *,
        least_area: int = 1,
        looked_at: LookedAt | None = None,
        held: bool = False,
    ) -> Iterator[Prediction]:
        """Score sound images class by class, on this rank alone; what `decoded` holds is not read.

        `sizes` are those of all samples, (width, height), in their order. With `looked_at` the largest map value, and
        the part of an image's score that comes of it, are of what is looked at alone. `held` says that `decoded` holds
        them all, and that there are no files. Where it is `Tiled`, tiles are scored.
        """
        pixels, workers = replace(self.evaluator.pixels, decoded=decoded), 0 if held else self.evaluator.workers
        with self._lock:
            own = one_by_one(self.evaluator_for(data))
        evaluator = replace(own, pixels=pixels, ranks=ALONE, workers=workers)
        size_of = dict(zip(data.samples, sizes, strict=True))
        parts = decoded.cut(data, sizes)
        for name in data.classes:
            batches = self._looked_at(evaluator.scored_batches(parts, name, self.attending, self.is_trained), looked_at)
            scored = as_wholes(rows_of(batches), evaluator, decoded, size_of, looked_at)
            for image, score, peak, anomaly_map in scored:
                yield Prediction(
                    path=image, pred_score=score, threshold=thresholds.image, max_value=peak, anomaly_map=anomaly_map,
                    map_threshold=thresholds.map, class_name=name, good_scores=thresholds.good_scores,
                    least_area=least_area, looked_at=None if looked_at is None else looked_at.pixels,
                )  # fmt: skip

    def _looked_at(self, batches: Iterator[ScoredBatch], looked_at: LookedAt | None) -> Iterator[ScoredBatch]:
        """The batches, each scored while no other thread scores, with largest map values of what is looked at."""
        while (batch := self._next(batches)) is not None:
            if looked_at is not None:
                peaks = looked_at.peaks(batch.maps)
                batch = replace(batch, peaks=peaks, image_scores=image_scores(self.evaluator, batch.detection, peaks))
            yield batch

    def _next(self, batches: Iterator[ScoredBatch]) -> ScoredBatch | None:
        """The next batch, while no other thread scores: a plugin may keep what it is at work on."""
        with self._lock:
            return next(batches, None)


def _references(model: AnomalyModel, trained: Trained) -> References | None:
    """What is remembered of normal images, from the file beside the checkpoint; None for a model without a memory."""
    if model.reference is None:
        return None
    name = reference_name(trained.experiment)
    return read_banks(bank_of(trained.checkpoint), model.reference, name, trained.metadata)


def load_model(path: str | Path, experiment: str | Path | None = None, device: str = "auto") -> TrainedModel:
    """Load a trained model from a run's folder, a checkpoint, or the hub: hf://USER/NAME@REVISION.

    `experiment` is needed where the checkpoint holds none (a pickle). Raises `UserError` for a path that holds no
    model, for a checkpoint that does not fit, and for a repository that cannot be read.
    """
    file = None if experiment is None else Path(experiment)
    return TrainedModel(find_trained(Path(path), discover(), file, [f"device={device}"]))


def _attending(trained: Trained) -> frozenset[TowerName]:
    """Towers whose stages with a context act: as stored, else as the experiment plans it up to this loop."""
    about = trained.metadata.about
    if about.attending is not None:
        return frozenset(about.attending)
    attending: frozenset[TowerName] = frozenset()
    for plan in plan_ahead(build_scheduler(trained.experiment))[: about.loop or number_of(trained.checkpoint)]:
        for phase in plan.phases:
            attending = attending_after(phase, attending)
    return attending


def _load(model: AnomalyModel, trained: Trained, attending: frozenset[TowerName]) -> None:
    """Load the weights. A stage that acts must be among them: fresh weights may train, but not score."""
    fresh = set(load_into(model, trained.checkpoint))
    acting = [
        name
        for tower in TOWERS
        for _, name, stage in model.slots.of(tower)
        if name in fresh and (stage.context_kind == "none" or tower in attending)
    ]
    if acting:
        problem = f"lacks the weights of {in_short(dict.fromkeys(acting))}, which the experiment has"
        fix = "name the experiment that the checkpoint was trained with, with --experiment"
        raise UserError(problem, where=str(trained.checkpoint), fix=fix)
