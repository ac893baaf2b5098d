"""AnomalyCLIP: both streams, prompts, maps, scores, losses, gradients and Adam steps, in its three forms.

AUPRO as published is a naive form of the test's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from aaclip_kit_plugins.clip_weights import resized_positions
from scipy.ndimage import label as connected_regions
from torch import Tensor

from aaclip_kit import ImageFeatures, Sample, unit
from aaclip_kit.data.loader import Batch, Pixels
from aaclip_kit.distributed.compute_device import ComputeDevice
from aaclip_kit.evaluation.class_metrics import ClassMetrics
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.phase import Phase, train_phase
from aaclip_kit.training.step import Step, StepCallback

from ...helpers import assert_close
from ..rebuilt import SameBatch
from .peer import Peer

METHOD = "anomalyclip"
FILE, TABLE = "vitl_anomaly_clip.toml", "prompt_learner."
RAW = "head.class_token=raw"
FORMS = {"published": (RAW, "prompts.deep_rounding=half"), "published_float32": (RAW,), "corrected": ()}
TERMS = ("focal", "dice_abnormal", "dice_normal")
IMAGES, SIDE = 12, 40
"""What the metrics' maps are of."""
THRESHOLDS, FPR_LIMIT = 200, 0.3
PATCH = 14


class Form:
    """The method in one form, built from its file with the recipe's weights; `place` names the levels in keys."""

    def __init__(self, peer: Peer, name: str, place: str) -> None:
        self.peer, self.name, self.place = peer, name, place
        self.size = int(peer.info["image_size"])
        self.levels = [int(level) for level in place.split("_")[1:]]
        self.overrides = (*FORMS[name], f"model.levels={self.levels}")
        self.model: Any = self.fresh()
        self.text = self.model.text.class_features((peer.info["classes"][0],))

    def fresh(self) -> Any:
        """Another model with the recipe's weights."""
        return self.peer.model(FILE, "anomalyclip/", *self.overrides, table=TABLE)

    def features(self) -> ImageFeatures:
        model = self.model
        return model.head.features(model.image.read(self.peer.images(), model.head.reads, model.levels))

    def hold(self, computed: dict[str, Any], prefix: str = "", tolerance: float = 1e-4) -> None:
        """Hold what there is a golden of in this form."""
        named = {f"{self.name}/{prefix}{key}": value for key, value in computed.items()}
        self.peer.hold({key: value for key, value in named.items() if key in self.peer.goldens.arrays}, tolerance)

    def train(self, steps: int = 1, rate: float = 0.0) -> tuple[list[Step], dict[str, Tensor]]:
        """Train by the file's own plan and losses; returns the steps and the parameters by published name."""
        experiment, model = self.peer.experiment(FILE, *self.overrides), self.fresh()
        scheduler = experiment.scheduler.component.build(experiment.scheduler.options)
        (plan,) = scheduler.next_loop(()).phases
        plan = replace(plan, epochs=steps, optimizer=replace(plan.optimizer, learning_rate=rate))
        chosen = experiment.losses["text"].items()
        losses = WeightedLosses({name: (one.component.build(one.options), one.weight) for name, one in chosen})
        reported: list[Step] = []
        phase = Phase(
            model=model, losses=losses, plan=plan, batches=whole_batch(self.peer),
            compute_device=ComputeDevice(torch.device("cpu"), "fp32"), loop=1, attending=frozenset(),
        )  # fmt: skip
        train_phase(phase, StepCallback(reported.append))
        names = model.published_names()
        return reported, {names[own].removeprefix(TABLE): one for own, one in model.all_trained_parameters().items()}


def whole_batch(peer: Peer) -> SameBatch:
    """The recipe's images, again in every epoch."""
    info, size = peer.info, peer.info["image_size"]
    pairs = zip(info["batch_classes"], info["labels"], strict=True)
    samples = tuple(Sample(Path(f"image{number}"), name, label) for number, (name, label) in enumerate(pairs))
    batch = Batch(peer.images(), peer.masks(), torch.tensor(info["labels"]), samples)
    table, pixels = peer.experiment(FILE).file.augmentation, Pixels(size, (0.0,) * 3, (1.0,) * 3)
    return SameBatch(samples, pixels, table, augment="none", batch_size=len(samples), key=(0,), batch=batch)


@pytest.fixture(scope="module")
def places(peer: Peer) -> Iterator[list[str]]:
    """Which levels there are goldens of, as keys say it: all four, and the last alone."""
    yield sorted({part for key in peer.keys for part in key.split("/") if part.startswith("level") and "_" in part})
    peer.forget()


@pytest.fixture(params=sorted(FORMS))
def forms(request: pytest.FixtureRequest, peer: Peer, places: list[str]) -> list[Form]:
    """One form of the method, with each choice of levels; all share a backbone of full size."""
    with torch.no_grad():
        return [Form(peer, request.param, place) for place in places]


def under(peer: Peer, prefix: str) -> list[str]:
    """What the keys below a prefix are called there, digests beside arrays left out."""
    return [key.removeprefix(prefix) for key in peer.keys if key.startswith(prefix)]


@torch.no_grad()
def streams(form: Form) -> tuple[dict[str, Any], dict[int, Tensor]]:
    """Both streams by the backbone's blocks alone, and the levels with their class token."""
    backbone, levels = form.model.backbone, form.peer.info["levels"]
    tokens = backbone.embed_image(form.peer.images())
    found: dict[str, Any] = {"input": tokens}
    start = backbone.surgery_start
    for block in range(start):
        tokens = backbone.vision_block(block, tokens)
    found[f"tokens_after_{start}_blocks"] = second = tokens
    at_levels = {}
    for block in range(start, backbone.vision.depth):
        second = second + backbone.value_attention(block, tokens)
        tokens = backbone.vision_block(block, tokens)
        if (level := block + 1) in levels:
            found |= {f"dpam_path_after_{level}_blocks": second, f"original_path_after_{level}_blocks": tokens}
            found[f"level{level}"] = at_levels[level] = backbone.project_image(backbone.finish_vision(second))
    return found, at_levels


@pytest.mark.slow
@torch.no_grad()
def test_both_streams_and_the_class_embedding(forms: list[Form]) -> None:
    for form in forms:
        found, at_levels = streams(form)
        read = form.model.image.read(form.peer.images(), form.model.head.reads, form.model.levels)
        for level, patches in read.levels.items():
            assert_close(patches, at_levels[level][:, 1:], atol=1e-5)
        found["class_embedding_unnormalised"] = read.class_embedding
        found["class_embedding"] = form.features().detection
        form.hold(found, "vision/")


@torch.no_grad()
def text_walk(form: Form) -> dict[str, Any]:
    """The prompts through the text tower, over all of their places."""
    backbone, prompts, book = form.model.backbone, form.model.prompts, form.model.text.book
    tokens = book.tokens[0]
    x = prompts.embed(backbone, tokens)
    found: dict[str, Any] = {"prompt_tokens": tokens, "features": form.text[0].T}
    found["prompt_embeddings"] = x - backbone.text_positions(tokens.shape[1])
    for block in range(backbone.text.depth):
        x = prompts.before_block(block, x, None)
        found[f"tokens_into_block_index{block}"] = x
        x = backbone.text_block(block, x)
        found[f"tokens_after_{block + 1}_blocks"] = x
    found["eot_projected"] = prompts.project(backbone, backbone.finish_text(x, book.ends[0]))
    return found


@pytest.mark.slow
@torch.no_grad()
def test_prompts_through_the_text_tower(forms: list[Form]) -> None:
    forms[0].hold(text_walk(forms[0]), "text/")


@pytest.mark.slow
@torch.no_grad()
def test_every_class_has_the_same_text_feature(forms: list[Form]) -> None:
    found = forms[0].model.text_features(tuple(forms[0].peer.info["batch_classes"]), None)
    assert_close(found, forms[0].text.expand_as(found), atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_similarity_maps_and_scores(forms: list[Form]) -> None:
    for form in forms:
        head, features = form.model.head, form.features()
        text = form.text.expand(len(form.peer.images()), -1, -1)
        for level, tokens in streams(form)[1].items():
            form.hold({f"similarity/level{level}": (unit(tokens) @ text / head.temperature).softmax(dim=-1)[..., 1]})
        maps = head.level_probabilities(features, text, form.size)
        form.hold({f"map/level{level}": of[:, 1] for level, of in maps.items()})
        smooth, plain = (head.score(features, text, form.size, "industrial", smooth=smooth) for smooth in (True, False))
        form.hold({"anomaly_map": smooth.maps, "anomaly_map_before_blur": plain.maps}, f"{form.place}/")
        form.hold({"image_logits": head.detection_logits(features, text), "image_score": smooth.detection})


@pytest.mark.slow
def test_losses_and_gradients(forms: list[Form]) -> None:
    for form in forms:
        (step,), trained = form.train()
        weight = form.peer.experiment(FILE).losses["text"]["maps"].weight
        terms = np.array([[step.terms[f"maps/level_{level}_{term}"] for term in TERMS] for level in form.levels])
        image = step.terms["image/image_cross_entropy"]
        losses = {"local_loss": [terms.sum()], "image_loss": [image], "loss": [step.loss]}
        form.hold({"loss_terms": terms / weight, **losses}, f"{form.place}/")
        prefix = f"{form.name}/{form.place}/grad/"
        form.peer.hold_digest({prefix + key: (key, trained[key].grad) for key in under(form.peer, prefix)})


@pytest.mark.slow
def test_steps_of_the_optimizer(forms: list[Form]) -> None:
    for form in forms:
        prefix = f"{form.name}/{form.place}/"
        for key in under(form.peer, prefix):
            if found := re.fullmatch(r"loss_of_(\d+)_adam_steps_lr(.+)", key):
                count, rate = int(found[1]), float(found[2])
                # A step more than there are tells the loss after the last.
                losses = [step.loss for step in form.train(count + 1, rate)[0]]
                after = {key: losses[:-1], f"loss_after_{count}_adam_steps_lr{found[2]}": losses[-1:]}
                form.hold(after, f"{form.place}/", 1e-3)
                trained, where = form.train(count, rate)[1], f"{prefix}parameter_after_{count}_adam_steps/"
                held = {where + name: (name, trained[name]) for name in under(form.peer, where)}
                # Steps by the sign of gradients near zero: up to 1.12e-3 apart with one thread.
                form.peer.hold_digest(held, 2e-3)


def test_positions_at_another_size(peer: Peer) -> None:
    prefix = "published/positional_embedding/from_24x24"
    for rest in under(peer, prefix):
        sizes = [int(rest.split("_")[-2])] if rest else []
        positions = peer.weight("clip/visual.positional_embedding", (577, 1024))
        # Published code resizes what it has resized before: in the product positions always start from the file's.
        for size in (*sizes, int(peer.info["image_size"])):
            model: Any = SimpleNamespace(visual=SimpleNamespace(grid_size=(size // PATCH,) * 2))
            positions = resized_positions(positions, model, "bilinear")
        peer.hold({prefix + rest: positions})


def test_published_evaluation(peer: Peer) -> None:
    recipe, tag = peer.goldens.recipe, peer.info["tag"]
    masks = recipe.masks(f"{tag}metric/", IMAGES, SIDE)[:, 0]
    labels = masks.any(axis=(1, 2)).astype(int)
    maps = (recipe.unit(tag, "pixel_scores", masks.size).reshape(masks.shape) + 1.2 * masks).astype(np.float32)
    scores = (recipe.unit(tag, "image_scores", IMAGES) + 0.8 * labels).astype(np.float32)
    metrics = ClassMetrics()
    metrics.update(maps, masks, scores, labels)
    values = {**metrics.values(), "pixel_aupro": published_aupro(maps, masks > 0)}
    names = ("pixel_auroc", "pixel_aupro", "image_auroc", "image_ap")
    peer.hold({"metrics/pixel_auroc_aupro_image_auroc_ap": [100 * (values[name] or 0) for name in names]})


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
