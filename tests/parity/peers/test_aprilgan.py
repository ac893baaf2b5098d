"""APRIL-GAN: text features, tokens, projections, maps, scores, losses, gradients and Adam steps, in both forms.

AUPRO as published is a naive form of the test's own, as are masks, and the few-shot image score, which is of a whole
test set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import resize_pos_embed
from PIL import Image
from scipy.ndimage import label as connected_regions
from torch import Tensor

from aaclip_kit import ImageFeatures, ImageTokens, NormalScores, Sample, Scores, unit, upsampled
from aaclip_kit.data import loader
from aaclip_kit.data.loader import Batch, Pixels
from aaclip_kit.distributed.compute_device import ComputeDevice
from aaclip_kit.evaluation.class_metrics import ClassMetrics
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.phase import Phase, train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..rebuilt import SameBatch
from .peer import Peer

METHOD = "aprilgan"
FILE, TABLE = "vitl_april_gan.toml", "trainable_linearlayer."
FORMS = {"published": ("backbone.activation=gelu", "losses.vision.dice.batch_of_one=rows"), "corrected": ()}
MEMORY = ("reference.use=april_gan", "data.reference.use=mvtec", "data.reference.root=none")
NORMAL = NormalScores(grid_mean=0.0, grid_deviation=1.0, image_mean=0.0, image_deviation=1.0)
"""What the head says of normal images plays no part."""
TRAJECTORY = re.compile(r"loss_of_(\d+)_adam_steps_lr(.+)")
METRICS = ("pixel_auroc", "pixel_f1max", "pixel_ap", "pixel_aupro", "image_auroc", "image_f1max", "image_ap")
IMAGES, SIDE = 12, 40
"""What the metrics' maps are of."""
THRESHOLDS, FPR_LIMIT = 200, 0.3
ROWS_APART = 37
"""Of positions at the published size so many are left out between two that are stored."""


class Form:
    """The method in one form, built from its file with the recipe's weights, and what it makes of the images."""

    def __init__(self, peer: Peer, name: str) -> None:
        self.peer, self.name, self.size = peer, name, int(peer.info["image_size"])
        self.experiment = peer.experiment(FILE, *FORMS[name], *MEMORY)
        self.model = self._model()
        self.classes: list[str] = peer.info["classes"]

    def _model(self) -> Any:
        return self.peer.model(FILE, "aprilgan/", *FORMS[self.name], *MEMORY, table=TABLE)

    def read(self, images: Tensor) -> ImageTokens:
        return self.model.image.read(images, self.model.head.reads, self.model.levels)

    @cached_property
    def tokens(self) -> ImageTokens:
        return self.read(self.peer.images())

    @cached_property
    def features(self) -> ImageFeatures:
        return self.model.head.features(self.tokens)

    @cached_property
    def text(self) -> dict[str, Tensor]:
        return dict(zip(self.classes, self.model.text.class_features(tuple(self.classes)), strict=True))

    def scores(self, name: str) -> Scores:
        """All images as of one class."""
        text = self.text[name].expand(len(self.peer.images()), -1, -1)
        return self.model.head.score(self.features, text, self.size, "industrial", smooth=True)

    def maps(self, name: str) -> dict[int, Tensor]:
        text = self.text[name].expand(len(self.peer.images()), -1, -1)
        made = self.model.head.level_probabilities(self.features, text, self.size)
        return {level: of[:, 1] for level, of in made.items()}

    def train(self, images: int | None = None, steps: int = 1, rate: float = 0.0) -> tuple[list[Step], dict[str, Any]]:
        """Train by the file's own plan and losses; returns the steps and the parameters by published name."""
        model = self._model()
        scheduler = self.experiment.scheduler.component.build(self.experiment.scheduler.options)
        (plan,) = scheduler.next_loop(()).phases
        plan = replace(plan, epochs=steps, optimizer=replace(plan.optimizer, learning_rate=rate))
        losses = {
            name: (one.component.build(one.options), one.weight)
            for name, one in self.experiment.losses["vision"].items()
        }
        reported: list[Step] = []
        phase = Phase(
            model=model, losses=WeightedLosses(losses), plan=plan, batches=self._batches(images),
            compute_device=ComputeDevice(torch.device("cpu"), "fp32"), loop=1, attending=frozenset(),
        )  # fmt: skip
        # What the phase reads of the text side does not change between runs.
        model.text.class_features = lambda classes: torch.stack([self.text[name] for name in classes])
        train_phase(phase, StepCallback(reported.append))
        names = model.published_names()
        return reported, {names[own].removeprefix(TABLE): one for own, one in model.all_trained_parameters().items()}

    def _batches(self, images: int | None) -> SameBatch:
        info = self.peer.info
        rows = list(zip(info["batch_classes"], info["labels"], strict=True))[:images]
        samples = tuple(Sample(Path(f"image{n}"), name, label) for n, (name, label) in enumerate(rows))
        labels = torch.tensor([sample.label for sample in samples])
        batch = Batch(self.peer.images()[:images], self.peer.masks()[:images], labels, samples)
        table = self.experiment.file.augmentation
        pixels = Pixels(self.size, (0.0,) * 3, (1.0,) * 3)
        return SameBatch(samples, pixels, table, augment="none", batch_size=len(samples), key=(0,), batch=batch)


def level_terms(step: Step, loss: str) -> list[float]:
    """One loss's term of each level, in order."""
    found = {int(re.findall(r"level_(\d+)", name)[0]): v for name, v in step.terms.items() if name.startswith(loss)}
    return [found[level] for level in sorted(found)]


def under(peer: Peer, prefix: str) -> list[str]:
    """What the keys below a prefix are called there, digests beside arrays left out."""
    return [key.removeprefix(prefix) for key in peer.keys if key.startswith(prefix)]


@pytest.fixture(scope="module", params=sorted(FORMS))
def form(request: pytest.FixtureRequest, peer: Peer) -> Iterator[Form]:
    """One form of the method at a time: each holds a model of full size."""
    with torch.no_grad():
        yield Form(peer, request.param)
    peer.forget()


@pytest.mark.slow
@torch.no_grad()
def test_text_features_tokens_and_projections(form: Form) -> None:
    p, head, tokens = form.name, form.model.head, form.tokens
    assert tokens.class_embedding is not None
    form.peer.hold({f"{p}/text/{name}": of for name, of in form.text.items()})
    form.peer.hold({f"{p}/cls": unit(tokens.class_embedding)})
    form.peer.hold({f"{p}/tokens/level{level}": of for level, of in tokens.levels.items()})
    layers = {level: head.layers[str(level)](of) for level, of in tokens.levels.items()}
    form.peer.hold({f"{p}/projected/level{level}": of for level, of in layers.items()})


@pytest.mark.slow
@torch.no_grad()
def test_maps_and_scores(form: Form) -> None:
    p, first = form.name, form.classes[0]
    form.peer.hold({f"{p}/map/level{level}/{first}": of for level, of in form.maps(first).items()})
    for name in form.classes:
        scores = form.scores(name)
        form.peer.hold({f"{p}/map/sum/{name}": scores.maps, f"{p}/image_score/{name}": scores.detection})


@pytest.mark.slow
@torch.no_grad()
def test_few_shot_maps_and_scores(form: Form) -> None:
    p, info, memory = form.name, form.peer.info, form.model.reference
    prefix = info["reference_tag"].removeprefix(info["tag"])
    images = form.peer.images(prefix, batch=info["references"]).split(1)
    read = [form.model.image.read(image, memory.reads, memory.levels) for image in images]
    kept = torch.cat([memory.fill([one])["patches"] for one in read]).transpose(0, 1).flatten(1, 2)
    form.peer.hold({f"{p}/few_shot/memory/level{n}": of for n, of in zip(memory.levels, kept, strict=True)})
    bank = memory.fill(read)
    answer = memory.answer(bank, form.tokens)
    maps = {name: upsampled(of[:, None], form.size)[:, 0] for name, of in (answer.parts or {}).items()}
    form.peer.hold({f"{p}/few_shot/map/{name}": of for name, of in maps.items()})
    form.peer.hold({f"{p}/few_shot/map/sum": upsampled(answer.grid[:, None], form.size)[:, 0]})
    for name in form.classes:
        scores = form.scores(name)
        combined = memory.combine(scores, answer, bank=bank, normal=NORMAL, smooth=True)
        computed = {"combined_map": combined.maps, "map_max": combined.map_peak}
        computed["image_score"] = mixed(scores.detection, combined.map_peak)
        form.peer.hold({f"{p}/few_shot/{key}/{name}": of for key, of in computed.items()})


def mixed(scores: Any, peaks: Any) -> Any:
    """Half the score and half the peak, stretched to 0 and 1 over all of them."""
    return (scores + (peaks - peaks.min()) / (peaks.max() - peaks.min())) / 2


@pytest.mark.slow
def test_losses_and_gradients(form: Form) -> None:
    p = f"{form.name}/train"
    with torch.enable_grad():
        (step,), trained = form.train()
    terms = {f"{p}/{loss}_per_level": level_terms(step, loss) for loss in ("focal", "dice")}
    form.peer.hold({**terms, f"{p}/loss": step.loss}, 1e-5)
    form.peer.hold_digest({f"{p}/grad/{name}": (name, trained[name].grad) for name in under(form.peer, f"{p}/grad/")})


@pytest.mark.slow
def test_steps_of_the_optimizer(form: Form) -> None:
    p = f"{form.name}/train/"
    for key in under(form.peer, p):
        if found := TRAJECTORY.fullmatch(key):
            with torch.enable_grad():
                steps, trained = form.train(steps=int(found[1]), rate=float(found[2]))
            form.peer.hold({p + key: [step.loss for step in steps]}, 1e-5)
            updates = f"{p}update_of_{found[1]}_adam_steps/"
            moved = {name: trained[name] - form.peer.weight(f"aprilgan/{name}", tuple(trained[name].shape))
                     for name in under(form.peer, updates)}  # fmt: skip
            form.peer.hold_digest({updates + name: (name, of) for name, of in moved.items()}, 2e-3)


@pytest.mark.slow
def test_losses_of_a_batch_of_one(form: Form) -> None:
    p = f"{form.name}/train_batch_of_one"
    with torch.enable_grad():
        (step,), _ = form.train(images=1)
    form.peer.hold({f"{p}/{loss}_per_level": level_terms(step, loss) for loss in ("focal", "dice")}, 1e-5)


def test_positions_at_another_size(peer: Peer) -> None:
    name = "visual.positional_embedding"
    prefix = "published/positional_embedding_of_336/at_"
    for size in under(peer, prefix):
        weights = {name: peer.weight(f"clip/{name}", (577, 1024))}
        grid = (int(size) // 14,) * 2
        resize_pos_embed(weights, SimpleNamespace(visual=SimpleNamespace(grid_size=grid)))
        stored = weights[name] if int(size) == peer.info["image_size"] else weights[name][::ROWS_APART]
        peer.hold({prefix + size: stored})


def test_pictures_and_masks_as_they_are_read(peer: Peer, tmp_path: Path) -> None:
    (height, width), size, tag = peer.info["picture_size"], peer.info["image_size"], peer.info["tag"] + "picture0/"
    noise = peer.goldens.recipe.images(tag, 1, max(height, width))[0, :, :height, :width].astype(np.float64)
    picture = np.clip(np.rint(127.5 + 50 * noise), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    (batch,) = loader.test_batches((Sample(tmp_path / "picture.png", "picture", 0),), Pixels(size, mean, std), 1)
    peer.hold({"published/preprocessed/picture": batch.images[0]})
    mask = peer.goldens.recipe.masks(tag, 1, max(height, width))[0, 0, :height, :width]
    drawn = Image.fromarray((255 * (mask > 0)).astype(np.uint8)).resize((size, size), Image.Resampling.BILINEAR)
    peer.hold({"published/preprocessed/mask": (np.asarray(drawn)[None] / 255 > 0.5).astype(np.float32)})


@pytest.mark.parametrize("shot", ["zero", "few"])
def test_published_evaluation(peer: Peer, shot: str) -> None:
    recipe, tag = peer.goldens.recipe, peer.info["tag"]
    masks = recipe.masks(f"{tag}metric/", IMAGES, SIDE)[:, 0]
    labels = masks.any(axis=(1, 2)).astype(int)
    maps = (recipe.unit(tag, "pixel_scores", masks.size).reshape(masks.shape) + 1.2 * masks).astype(np.float32)
    scores = (recipe.unit(tag, "image_scores", IMAGES) + 0.8 * labels).astype(np.float32)
    if shot == "few":
        scores = mixed(scores, maps.max(axis=(1, 2)))
    metrics = ClassMetrics()
    metrics.update(maps, masks, scores, labels)
    values = {**metrics.values(), "pixel_aupro": published_aupro(maps, masks > 0)}
    peer.hold({f"metrics/aprilgan_{shot}_shot": [100 * (values[name] or 0) for name in METRICS]})


def published_aupro(maps: np.ndarray, masks: np.ndarray) -> float:
    """The mean overlap of regions over the false positive rate, at thresholds that are evenly apart."""
    regions = [
        maps[image][numbered == number]
        for image, mask in enumerate(masks)
        for numbered, count in [connected_regions(mask, structure=np.ones((3, 3)))]
        for number in range(1, count + 1)
    ]
    low, high = float(maps.min()), float(maps.max())
    points = []
    for threshold in low + (high - low) / THRESHOLDS * np.arange(THRESHOLDS):
        overlap = float(np.mean([(region > threshold).mean() for region in regions]))
        points.append(((maps[~masks] > threshold).mean(), overlap))
    rates, overlaps = np.array(sorted(point for point in points if point[0] < FPR_LIMIT)).T
    return float(np.trapezoid(overlaps, (rates - rates.min()) / (rates.max() - rates.min())))


def test_every_key_was_compared(compared: Peer) -> None:
    assert not compared.passed_over
