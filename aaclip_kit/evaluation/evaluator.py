"""Scoring a whole data set with one model, class by class and batch by batch."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, Int8
from torch import Tensor

from ..contracts.data import DataSet, Domain, Sample
from ..contracts.head import Head, ImageFeatures, ImageTokens, Scores
from ..contracts.options import TowerName
from ..contracts.reference import Answer, NormalScores
from ..data.decode import IGNORED
from ..data.loader import Batch, Pixels, test_batches
from ..distributed.collectives import all_gather_object
from ..distributed.compute_device import ComputeDevice
from ..distributed.out_of_memory import SIDE, explaining_out_of_memory
from ..distributed.ranks import ALONE, Ranks
from ..experiment.schema import EvaluationTable, ExperimentFile, Switches
from ..model.anomaly_model import AnomalyModel
from ..model.image_tower import Untouched
from ..model.plugin_faults import PluginFault, naming_batch, run_answer
from ..model.prompts import PromptBook
from ..model.stage_slots import NO_CONTEXT, Contexts
from .class_metrics import ClassMetrics, ClassResult, Mask, results
from .published_scores import MinMaxScores
from .references import Memory, References, saying_nothing


@dataclass(frozen=True, kw_only=True)
class ScoredBatch:
    """Raw scores of some images of one class, beside their samples and masks, which are below 0 where left out.

    `grid` is the anomaly map on the patch grid and `maps` is it at the image size; `image_scores` go by
    `evaluation.image_score`, also where the class's metrics are of scores normalised as published.
    """

    samples: tuple[Sample, ...]
    masks: Bool[np.ndarray, "B S S"] | Int8[np.ndarray, "B S S"]
    grid: Float32[np.ndarray, "B G G"]
    maps: Float32[np.ndarray, "B S S"]
    detection: Float32[np.ndarray, " B"]
    peaks: Float32[np.ndarray, " B"]
    image_scores: Float32[np.ndarray, " B"]

    @property
    def labels(self) -> Int[np.ndarray, " B"]:
        """1 for an anomalous image."""
        return np.array([sample.label for sample in self.samples])

    @property
    def known_masks(self) -> list[Mask | None]:
        """See `known_masks`."""
        return known_masks(self.samples, self.masks)


def masks_of(batch: Batch) -> Bool[np.ndarray, "B S S"] | Int8[np.ndarray, "B S S"]:
    """Masks of a batch's images, true or 1 where anomalous, and below 0 where left out."""
    masks = batch.masks[:, 0].cpu().numpy() > 0
    if batch.ignored is None:
        return masks
    return np.where(batch.ignored[:, 0].cpu().numpy(), np.int8(IGNORED), masks.astype(np.int8))


def known_masks(samples: Sequence[Sample], masks: Iterable[Mask]) -> list[Mask | None]:
    """The mask of each image; None for an anomalous image that has none."""
    pairs = zip(samples, masks, strict=True)
    return [None if sample.label and sample.mask is None else mask for sample, mask in pairs]


@dataclass(frozen=True)
class Counts:
    """What is counted of a class's images; with the published scores, these and the labels of the images."""

    metrics: ClassMetrics
    published: MinMaxScores | None
    labels: list[np.ndarray]

    @classmethod
    def of(cls, switches: Switches, domain: Domain) -> "Counts":
        """Nothing yet, to be counted as an experiment's switches say."""
        published = MinMaxScores(domain) if switches.score_normalisation == "test_set" else None
        return cls(ClassMetrics(undefined_as_zero=switches.one_label_auroc == "zero"), published, [])

    def add(self, batch: ScoredBatch) -> None:
        """Count the images of a batch."""
        self.metrics.update_pixels(batch.maps, batch.known_masks, batch.labels)
        if self.published is None:
            self.metrics.update_images(batch.image_scores, batch.labels)
        else:
            self.published.add(batch.maps, batch.detection)
            self.labels.append(batch.labels)


def whole(parts: Sequence[Counts]) -> ClassMetrics:
    """The counts of all images of a class, which one rank or several have counted; theirs are no more to be used."""
    first, *others = parts
    for other in others:
        first.metrics.merge(other.metrics)
        if first.published is not None and other.published is not None:
            first.published.merge(other.published)
    if first.published is not None:
        labels = np.concatenate([labels for part in parts for labels in part.labels])
        first.metrics.update_images(first.published.image_scores(), labels)
    return first.metrics


def image_score(choice: str, detection: Tensor, peaks: Tensor, head: Head) -> Tensor:
    """One score an image, `[B]`, by a choice of `evaluation.image_score`; the head made maps with these peaks."""
    if choice == "detection":
        return detection
    return peaks if choice == "map" else (detection + head.map_probability(peaks)) / 2


Key = TypeVar("Key")

ScoreKind = Literal["zero_shot", "memory", "both"]
"""What images are scored by: the head without a memory, a memory alone, or both together."""

BatchCallback = Callable[[str, ScoredBatch], None]
"""Called with a class's name and one batch of its images after another."""


@dataclass(frozen=True)
class OfClass:
    """What the scores of a class's images share: made once a class, not once a batch.

    `text` is its text feature `[1, E, 2]`, None where it is conditioned on each image; `contexts` has the text context
    of the vision stages, and `attention` says whether they act.
    """

    attending: Set[TowerName]
    trained: bool
    _: KW_ONLY
    text: Tensor | None
    contexts: Contexts
    attention: bool
    remembers: bool = False
    """Whether what the memory reads is read."""
    memory: Memory | None = None
    """What is remembered of the class's normal images, on the model's device; None where the head scores alone."""


@dataclass(frozen=True)
class Evaluator:
    """Scores images with a model, frozen or trained.

    `attending` names the towers whose stages with a context act: those that trained with them on. Of several ranks,
    each scores its share of the batches, which are those of one process; figures are of all of them, on every rank.
    """

    model: AnomalyModel
    compute_device: ComputeDevice
    pixels: Pixels
    _: KW_ONLY
    table: EvaluationTable
    switches: Switches
    workers: int = 0
    ranks: Ranks = ALONE
    prompts: PromptBook | None = None
    """Prompts of other classes than the model's own."""
    references: References | None = None
    """What is remembered of normal images; classes without any are scored by the head alone."""

    @classmethod
    def of(
        cls, model: AnomalyModel, compute_device: ComputeDevice, pixels: Pixels, file: ExperimentFile, ranks: Ranks
    ) -> "Evaluator":
        """The evaluator that an experiment file asks for."""
        table, switches, workers = file.evaluation, file.switches, file.workers
        return cls(model, compute_device, pixels, table=table, switches=switches, workers=workers, ranks=ranks)

    def remembering(
        self, references: References, data: DataSet, attending: Set[TowerName], trained: bool
    ) -> "Evaluator":
        """The evaluator with a memory, and with what the head says now of the images in it, which are `data`'s."""
        alone, normal = replace(self, references=None, ranks=ALONE), {}
        for name in data.classes:
            batches = list(alone.scored_batches(data, name, attending, trained))
            grid, detection = (np.concatenate([getattr(one, of) for one in batches]) for of in ("grid", "detection"))
            normal[name] = NormalScores.of(torch.from_numpy(grid), torch.from_numpy(detection))
        return replace(self, references=replace(references, normal=normal))

    def metrics(
        self, data: DataSet, attending: Set[TowerName], trained: bool, on_batch: BatchCallback | None = None
    ) -> dict[str, Any]:
        """The record that `results` makes of all classes; `on_batch` sees every batch that this rank scores."""
        return results(self.evaluate(data, attending, trained, on_batch))

    def evaluate(
        self, data: DataSet, attending: Set[TowerName], trained: bool, on_batch: BatchCallback | None = None
    ) -> dict[str, ClassResult]:
        """Metrics and curves of each class; `on_batch` sees every batch that this rank scores on the way."""
        counts = ((name, self._counts(data, name, attending, trained, on_batch)) for name in data.classes)
        # Several ranks score all before anything is merged: they then wait for one another once, not for each class.
        scored = list(counts) if self.ranks.is_distributed else counts
        return {name: whole(all_gather_object(self.ranks, own)).result() for name, own in scored}

    def class_metrics(
        self, data: DataSet, name: str, attending: Set[TowerName], trained: bool, on_batch: BatchCallback | None = None
    ) -> ClassMetrics:
        """Counts of one class, which can be saved and added to those of other images of it."""
        return whole(all_gather_object(self.ranks, self._counts(data, name, attending, trained, on_batch)))

    def _counts(
        self, data: DataSet, name: str, attending: Set[TowerName], trained: bool, on_batch: BatchCallback | None
    ) -> Counts:
        counts = Counts.of(self.switches, data.domain)
        for batch in self.scored_batches(data, name, attending, trained):
            if on_batch:
                on_batch(name, batch)
            counts.add(batch)
        return counts

    def scored_batches(
        self, data: DataSet, name: str, attending: Set[TowerName], trained: bool
    ) -> Iterator[ScoredBatch]:
        """Score the images of one class in order, a batch at a time; of several ranks, this one's share of them."""
        if samples := self.own_samples(data, name):
            known = self.of_class(name, attending, trained)
            for batch in test_batches(samples, self.pixels, self.table.batch_size, self.workers):
                yield self._scored(batch, known, data.domain)

    @torch.no_grad()
    def scored_with_each(
        self, data: DataSet, name: str, attending: Set[TowerName], trained: bool, memories: Mapping[Key, Memory]
    ) -> Iterator[tuple[Key | None, ScoreKind, ScoredBatch]]:
        """Score the images of one class by the head, and with each of several memories, in one walk of the backbone.

        Of each batch come the head's scores (None), and for each memory's key those of the memory alone, beside a head
        that says of every image what it says of normal ones on average, and those of both together.
        """
        known = replace(self._of_head(name, attending, trained), remembers=True)
        for batch in test_batches(self.own_samples(data, name), self.pixels, self.table.batch_size, self.workers):
            batch = batch.to(self.compute_device.device)
            with self._explaining(batch):
                scores, tokens = self._of_batch(batch, known, data.domain)
                assert tokens is not None
                found = self._as_scored(batch, scores, known)
            yield None, "zero_shot", found
            for key, memory in memories.items():
                with self._explaining(batch):
                    answer = self._answer(memory, tokens)
                heads: dict[ScoreKind, Scores] = {"memory": saying_nothing(scores, memory.normal), "both": scores}
                for kind, head in heads.items():
                    with self._explaining(batch):
                        found = self._as_scored(batch, self._with_memory(head, memory, answer), known)
                    yield key, kind, found

    def own_samples(self, data: DataSet, name: str) -> tuple[Sample, ...]:
        """Return the images of a class that this rank scores."""
        own = self.shares(data)[name]
        return tuple([sample for sample in data.samples if sample.class_name == name][own.start : own.stop])

    @torch.no_grad()
    def head_and_tokens(
        self, data: DataSet, name: str, attending: Set[TowerName], trained: bool
    ) -> Iterator[tuple[Scores, ImageTokens]]:
        """What the head alone says of each image of one class, one by one, and what the memory reads of it."""
        samples = tuple(sample for sample in data.samples if sample.class_name == name)
        known = replace(self._of_head(name, attending, trained), remembers=True)
        for batch in test_batches(samples, self.pixels, 1, self.workers):
            batch = batch.to(self.compute_device.device)
            with self._explaining(batch):
                scores, tokens = self._of_batch(batch, known, data.domain)
            assert tokens is not None
            yield scores, tokens

    def shares(self, data: DataSet) -> dict[str, range]:
        """Which images of each class this rank scores: a contiguous run of the batches of all classes in order."""
        size = self.table.batch_size
        images = Counter(sample.class_name for sample in data.samples)
        batches = [(name, first) for name in data.classes for first in range(0, images[name], size)]
        shares = dict.fromkeys(data.classes, range(0))
        for name, first in self.ranks.own(batches):
            shares[name] = range(shares[name].start if shares[name] else first, min(first + size, images[name]))
        return shares

    def image_scores(self, scores: Scores) -> Tensor:
        """One score an image, `[B]`, by the experiment's choice."""
        return image_score(self.table.image_score, scores.detection, scores.map_peak, self.model.head)

    @torch.no_grad()
    def _scored(self, batch: Batch, known: OfClass, domain: Domain) -> ScoredBatch:
        batch = batch.to(self.compute_device.device)
        with self._explaining(batch):
            return self._as_scored(batch, self.scores(batch, known, domain), known)

    def scores(self, batch: Batch, known: OfClass, domain: Domain) -> Scores:
        """What the head, and the memory if there is one, say of a batch that is on the device; masks are not read."""
        scores, tokens = self._of_batch(batch, known, domain)
        if known.memory is None or tokens is None:
            return scores
        return self._with_memory(scores, known.memory, self._answer(known.memory, tokens))

    @contextmanager
    def _explaining(self, batch: Batch) -> Iterator[None]:
        less = f"lower evaluation.batch_size, or use a smaller {SIDE}"
        shortage = explaining_out_of_memory(f"scoring {len(batch.samples)} images at once", less)
        with naming_batch("scoring", batch.samples), shortage:
            yield

    def _of_batch(self, batch: Batch, known: OfClass, domain: Domain) -> tuple[Scores, ImageTokens | None]:
        """What the head says of a batch, and what the memory reads of it, if there is one."""
        with self.compute_device.autocast():
            features, text, tokens = self._features(batch, known)
        return self.model.head.score(features, text, batch.images.shape[-1], domain, self.table.blur), tokens

    def _as_scored(self, batch: Batch, scores: Scores, known: OfClass) -> ScoredBatch:
        """Scores beside their samples and masks. Raises `PluginFault` where they are not finite."""
        on_device = (scores.grid, scores.maps, scores.detection, scores.map_peak, self.image_scores(scores))
        arrays = [part.cpu().numpy() for part in on_device]
        if not all(np.isfinite(array).all() for array in arrays):
            raise self._not_finite(batch, known)
        names = ("grid", "maps", "detection", "peaks", "image_scores")
        return ScoredBatch(samples=batch.samples, masks=masks_of(batch), **dict(zip(names, arrays, strict=True)))

    def _answer(self, memory: Memory, tokens: ImageTokens) -> Answer:
        assert self.model.reference is not None
        return run_answer(self.model.reference, memory.bank, tokens, "reference")

    def _with_memory(self, scores: Scores, memory: Memory, answer: Answer) -> Scores:
        """The scores of the head together with what the class's normal images say."""
        reference, smooth = self.model.reference, self.table.blur
        assert reference is not None
        return reference.combine(scores, answer, bank=memory.bank, normal=memory.normal, smooth=smooth)

    def _not_finite(self, batch: Batch, known: OfClass) -> PluginFault:
        """The fault behind scores that are not finite: of the stage that makes them so, where it is one's."""
        try:
            with self.model.slots.looking_at_numbers(), self.compute_device.autocast():
                self._features(batch, self.of_class(batch.classes[0], known.attending, known.trained))
        except PluginFault as fault:
            return fault
        fix = "look at the checkpoint's weights, or use precision = 'fp32'"
        return PluginFault("the scores are not finite", where="evaluation", fix=fix)

    @torch.no_grad()
    def of_class(self, name: str, attending: Set[TowerName], trained: bool) -> OfClass:
        """What the scores of a class's images share, with the memory of it, if there is one."""
        known = self._of_head(name, attending, trained)
        if self.references is None or name not in self.references.banks:
            return known
        memory = self.references.of_class(name, self.compute_device.device)
        return replace(known, remembers=True, memory=memory)

    def _of_head(self, name: str, attending: Set[TowerName], trained: bool) -> OfClass:
        model, attention = self.model, "vision" in attending and self.switches.evaluation_attention
        with self.compute_device.autocast():
            by_image = model.text is not None and model.text.goes_by_image
            if not trained:
                by_class = None if by_image else model.text
                frozen = None if by_class is None else by_class.untrained_features((name,), self.prompts)
                return OfClass(attending, trained, text=frozen, contexts=NO_CONTEXT, attention=False)
            alone = model.text is not None and not by_image and self.table.text_conditioning == "none"
            text = model.text_features((name,), None, self.prompts) if alone else None
            contexts = model.text_contexts((name,), attention, self.prompts)
            return OfClass(attending, trained, text=text, contexts=contexts, attention=attention)

    def _features(self, batch: Batch, known: OfClass) -> tuple[ImageFeatures, Tensor | None, ImageTokens | None]:
        """What is known of a batch's images, their text features, and what the memory reads, if there is one."""
        model, untouched = self.model, Untouched(self.model.image, batch.images)
        tokens, remembered = self._tokens(batch, known, untouched)
        image = model.head.features(tokens) if known.trained else model.head.untrained_features(tokens)
        if known.text is not None:
            return image, known.text.expand(len(batch.classes), -1, -1), remembered
        return image, None if model.text is None else self._own_text(batch, known, untouched), remembered

    def _tokens(self, batch: Batch, known: OfClass, untouched: Untouched) -> tuple[ImageTokens, ImageTokens | None]:
        """What the head reads of a batch and what the memory does, in one walk where that can be."""
        model, reads = self.model, self.model.head.reads if known.trained else self.model.untrained_reads
        memory = model.reference if known.remembers else None
        readers = [] if memory is None else [(memory.reads, memory.levels)]
        if known.trained and not model.vision_is_fixed:
            contexts = {**known.contexts, **model.image_contexts(batch.images, known.attention, untouched)}
            tokens = model.image.read(batch.images, reads, model.levels, contexts)
            return tokens, next(iter(model.image.untouched_by(batch.images, readers)), None)
        tokens, *others = model.image.untouched_by(batch.images, [(reads, model.levels), *readers])
        return tokens, next(iter(others), None)

    def _own_text(self, batch: Batch, known: OfClass, untouched: Untouched) -> Tensor:
        """Text features that go by each image."""
        model = self.model
        assert model.text is not None
        embedding = untouched.embedding() if model.text.goes_by_image else None
        if not known.trained:
            return model.text.untrained_features(batch.classes, self.prompts, embedding)
        context = None
        if self.table.text_conditioning == "image":
            inputs = model.text_phase_inputs(
                batch.images, batch.classes, True, known.attending, untouched, self.prompts
            )
            context = inputs[1]
        return model.text_features(batch.classes, context, self.prompts, embedding)
