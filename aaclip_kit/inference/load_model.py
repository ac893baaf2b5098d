"""A trained model in use: scores, decisions and anomaly maps of new images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float32
from PIL.Image import Image
from torch.nn import functional

from ..checkpoints.bank_file import bank_of, read_banks, reference_name
from ..checkpoints.checkpoint import load_into
from ..checkpoints.find_checkpoint import Trained, find_trained
from ..checkpoints.published_layout import number_of
from ..checkpoints.stored_thresholds import Thresholds, stored_thresholds
from ..contracts.data import DataSet, Domain, Sample
from ..contracts.errors import UserError, UserErrors, in_short
from ..contracts.options import TOWERS, TowerName
from ..data.decoded import Decoded
from ..data.loader import Pixels
from ..data.scan import DatasetScan, scan_dataset
from ..distributed.compute_device import ComputeDevice
from ..distributed.ranks import ALONE, Ranks
from ..evaluation.calibration import one_by_one
from ..evaluation.evaluator import Evaluator, ScoredBatch, image_score
from ..evaluation.references import References
from ..kernels.norm_matched import why_not_fused
from ..model.anomaly_model import AnomalyModel
from ..model.build import build_model, check_conditioning
from ..model.prompts import PromptBook
from ..plugin_host.discovery import discover
from ..training.loop_plans import attending_after, build_scheduler, plan_ahead
from .looked_at import LookedAt
from .prediction import UNNAMED as UNNAMED
from .prediction import Prediction


class TrainedModel:
    """A model with trained weights. An image's score depends on that image and on the name of its object alone."""

    def __init__(self, trained: Trained, ranks: Ranks = ALONE) -> None:
        """Build the model and load its weights. Of several ranks, each then scores its share of the images."""
        file = trained.experiment.file
        self.trained, self.compute_device = trained, ComputeDevice.choose(file.device, file.precision, ranks)
        model = build_model(trained.experiment, {UNNAMED: UNNAMED})
        self.model = model.to(self.compute_device.device).requires_grad_(False)
        slots = self.model.slots
        slots.fused = slots.fused and why_not_fused(self.compute_device.device) is None
        self.attending, self.is_trained = _attending(trained), trained.metadata.about.loop != 0
        _load(self.model, trained, self.attending)
        check_conditioning(trained.experiment, self.model.slots)
        backbone = self.model.backbone
        pixels = Pixels(backbone.image_size, backbone.image_mean, backbone.image_std)
        evaluator = Evaluator.of(self.model, self.compute_device, pixels, file, ranks)
        self.evaluator = replace(evaluator, references=_references(self.model, trained))

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

    def predict(self, image: str | Path, name: str = UNNAMED, domain: str | None = None) -> Prediction:
        """Score one image file; `name` is what the prompts call the object, `domain` by default that of training.

        Raises `UserError` for a bad image, one of several pages, or no domain.
        """
        (prediction,) = self._predicted([image], name, domain, each_page=False)
        return prediction

    def predict_all(
        self, images: Sequence[str | Path], name: str = UNNAMED, domain: str | None = None
    ) -> Iterator[Prediction]:
        """Score image files one after another, each page of one that has several. Raises `UserErrors`, before any is
        scored, for bad ones.
        """
        return self._predicted(images, name, domain, each_page=True)

    def _predicted(
        self, images: Sequence[str | Path], name: str, domain: str | None, each_page: bool
    ) -> Iterator[Prediction]:
        chosen = self.domain(domain)
        samples, decoded = tuple(Sample(Path(image), name, 0) for image in images), Decoded(once=True)
        real_name = self.real_name(name) if name == UNNAMED else name
        scan = self.scan(DataSet(samples, {name: real_name}, chosen), decoded, each_page=each_page)
        if scan.faults:
            raise UserErrors(scan.faults)
        thresholds = stored_thresholds(self.trained, chosen)
        return self.predictions(scan.data, [facts.size for facts in scan.facts], thresholds, decoded)

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
    ) -> Iterator[Prediction]:
        """Score sound images class by class, on this rank alone; what `decoded` holds is not read.

        `sizes` are those of all samples, (width, height), in their order. With `looked_at` the largest map value, and
        the part of an image's score that comes of it, are of what is looked at alone.
        """
        pixels = replace(self.evaluator.pixels, decoded=decoded)
        evaluator = replace(one_by_one(self.evaluator_for(data)), pixels=pixels, ranks=ALONE)
        size_of = dict(zip(data.samples, sizes, strict=True))
        for name in data.classes:
            for batch in evaluator.scored_batches(data, name, self.attending, self.is_trained):
                if looked_at is not None:
                    batch = self._only(batch, looked_at)
                scored = zip(batch.samples, batch.image_scores, batch.peaks, batch.maps, strict=True)
                for sample, score, peak, values in scored:
                    yield Prediction(
                        path=sample.image, pred_score=float(score), threshold=thresholds.image, max_value=float(peak),
                        anomaly_map=stretched(values, size_of[sample]), map_threshold=thresholds.map, class_name=name,
                        good_scores=thresholds.good_scores, least_area=least_area,
                        looked_at=None if looked_at is None else looked_at.pixels,
                    )  # fmt: skip

    def _only(self, batch: ScoredBatch, looked_at: LookedAt) -> ScoredBatch:
        """The batch with largest map values, and scores, of what is looked at."""
        peaks = looked_at.peaks(batch.maps)
        detection, largest = torch.from_numpy(batch.detection), torch.from_numpy(peaks)
        scores = image_score(self.evaluator.table.image_score, detection, largest, self.model.head)
        return replace(batch, peaks=peaks, image_scores=scores.numpy())


def _references(model: AnomalyModel, trained: Trained) -> References | None:
    """What is remembered of normal images, from the file beside the checkpoint; None for a model without a memory."""
    if model.reference is None:
        return None
    name = reference_name(trained.experiment)
    return read_banks(bank_of(trained.checkpoint), model.reference, name, trained.metadata)


def load_model(path: str | Path, experiment: str | Path | None = None, device: str = "auto") -> TrainedModel:
    """Load a trained model from a run's folder or a checkpoint.

    `experiment` is needed where the checkpoint holds none (a pickle). Raises `UserError` for a path that holds no
    model, and for a checkpoint that does not fit.
    """
    file = None if experiment is None else Path(experiment)
    return TrainedModel(find_trained(Path(path), discover(), file, [f"device={device}"]))


def stretched(values: Float32[np.ndarray, "S S"], size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """A map at an image's own size (width, height): bilinear, corners not aligned, as pictures are resized."""
    width, height = size
    tensor = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return functional.interpolate(tensor, (height, width), mode="bilinear")[0, 0].numpy()


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
