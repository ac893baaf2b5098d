"""Frozen features that are kept: the same bits, made once, of the images that are lacking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaclip_kit import TowerName
from aaclip_kit.cache.feature_store import DiskStore, MemoryStore
from aaclip_kit.data.loader import Batch, TrainBatches
from aaclip_kit.experiment.schema import AugmentationTable
from aaclip_kit.model.image_tower import FIXED_BATCH, Parts, Untouched, parts_of, untouched_parts
from aaclip_kit.run.assemble import Run, build_phase
from aaclip_kit.training.feature_cache import CachedFeatures
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import build, class_embeddings, plan_for
from ..helpers import assert_close

BOTH: frozenset[TowerName] = frozenset({"text", "vision"})


class Counted:
    """Counts the images that go through a vision tower: one for each run of its first block."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = 0
        inner: Callable[..., Tensor] = run.model.backbone.embed_image

        def embed(images: Tensor) -> Tensor:
            self.images += len(images)
            return inner(images)

        monkeypatch.setattr(run.model.backbone, "embed_image", embed)


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment, "switches.dropout=false", "augmentation.views=2")


def batches_of(run: Run, views: int = 2, geometry: float = 0.5, size: int = 3) -> TrainBatches:
    table = AugmentationTable(geometry=geometry, views=views)
    return TrainBatches(
        run.data.sets["train"].samples, run.pixels, table, augment="geometry", batch_size=size, key=(111, 1, 0)
    )


def part_of(batch: Batch, rows: slice) -> Batch:
    images, masks, labels = batch.images[rows], batch.masks[rows], batch.labels[rows]
    return Batch(images, masks, labels, batch.samples[rows], views=batch.views[rows])


def cached_in(run: Run, store: MemoryStore | DiskStore, batches: TrainBatches) -> CachedFeatures:
    return CachedFeatures(run.model.image, store, run.data.fingerprints["train"].images, batches.table, batches.image)


def parts(run: Run, images: Tensor) -> Parts:
    """What is read of images before training, part by part."""
    return untouched_parts(run.model.image, images, run.model.untrained_reads)


def kept(run: Run, of: Untouched) -> Parts:
    """The same of a batch, of which a store may hold some."""
    return parts_of(of.tokens(run.model.untrained_reads))


def assert_same(found: Parts, expected: Parts) -> None:
    assert list(found) == list(expected) == ["levels", "class"]
    assert all(torch.equal(part, expected[name]) for name, part in found.items())


def first_of(batches: TrainBatches, epoch: int) -> Batch:
    return next(batches.epoch(epoch))


def test_what_comes_out_of_the_store_is_what_was_computed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = batches_of(run)
    cache = cached_in(run, MemoryStore(10**8), batches)
    counted = Counted(run, monkeypatch)
    batch = first_of(batches, 1)
    expected = parts(run, batch.images)
    counted.images = 0
    assert list(cache.of(batch).tokens(run.model.untrained_reads).levels) == list(run.model.levels)
    assert counted.images == FIXED_BATCH
    assert_same(kept(run, cache.of(batch)), expected)
    assert torch.equal(cache.of(batch).embedding(), expected["class"])
    assert counted.images == FIXED_BATCH, "the class embedding comes with the patches"


@pytest.mark.parametrize("held", [1, 2, 6, 7])
def test_only_the_images_that_are_lacking_are_computed_and_have_the_bits_that_all_together_have(
    run: Run, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = batches_of(run, size=7)
    cache = cached_in(run, MemoryStore(10**8), batches)
    batch = first_of(batches, 1)
    kept(run, cache.of(part_of(batch, slice(0, held))))
    counted = Counted(run, monkeypatch)
    found, embedding = kept(run, cache.of(batch)), cache.of(batch).embedding()
    assert counted.images == FIXED_BATCH * -(-(7 - held) // FIXED_BATCH)
    whole = parts(run, batch.images)
    assert_same(found, whole)
    assert torch.equal(embedding, whole["class"])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_frozen_features_are_a_function_of_the_image_alone(run: Run, count: int) -> None:
    image, images = run.model.image, first_of(batches_of(run, size=7), 1).images
    whole = parts(run, images)
    assert_same(parts(run, images[-count:]), {name: part[-count:] for name, part in whole.items()})
    at_once = parts_of(image.untouched(images, run.model.untrained_reads, image.levels))
    for name, part in whole.items():
        assert_close(part, at_once[name], atol=1e-5)
    assert torch.equal(Untouched(image, images[-count:]).embedding(), whole["class"][-count:])


def test_vv_attention_over_the_batch_has_the_batch_as_it_is(small_experiment: Path) -> None:
    run = build(small_experiment, "switches.surgery_attention=batch")
    image, images = run.model.image, torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert_same(parts(run, images), parts_of(image.untouched(images, run.model.untrained_reads, image.levels)))
    assert_close(Untouched(image, images).embedding(), class_embeddings(run.model, images))


def test_a_finite_set_of_views_comes_again_and_an_endless_one_does_not(run: Run) -> None:
    assert batches_of(run).views_come_again and batches_of(run, views=0, geometry=0).views_come_again
    assert not batches_of(run, views=0).views_come_again

    def images(epoch: int, views: int) -> dict[Path, Tensor]:
        batches = list(batches_of(run, views).epoch(epoch))
        return {
            sample.image: image for batch in batches for sample, image in zip(batch.samples, batch.images, strict=True)
        }

    one, two, three = (images(epoch, 2) for epoch in (1, 2, 3))
    assert all(torch.equal(one[path], three[path]) for path in one)
    assert not all(torch.equal(one[path], two[path]) for path in one)
    fresh = [images(epoch, 0) for epoch in (1, 3)]
    assert not all(torch.equal(fresh[0][path], fresh[1][path]) for path in one)


def test_views_are_for_the_features_of_the_text_phase_alone(run: Run) -> None:
    samples, table = run.data.sets["train"].samples, AugmentationTable(views=1)
    coloured = TrainBatches(samples, run.pixels, table, augment="geometry_and_color", batch_size=3, key=(111, 1, 1))
    assert not coloured.views_come_again


def test_images_are_not_decoded_where_everything_is_held_and_their_masks_are_the_same(run: Run) -> None:
    batches = batches_of(run)
    with_images, without = (list(batches.epoch(1, held)) for held in (None, lambda sample, view: True))
    for one, other in zip(with_images, without, strict=True):
        assert other.images.shape == (len(one.samples), 0, *one.images.shape[2:])
        assert torch.equal(one.masks, other.masks) and one.samples == other.samples and one.views == other.views
    lacking = batches.samples[0]
    some = next(batches.epoch(1, lambda sample, view: sample != lacking))
    assert some.images.shape[1] == 3


def test_an_entry_that_another_run_removed_is_decoded_and_made_again(run: Run, tmp_path: Path) -> None:
    batches, folder = batches_of(run), tmp_path / "features"
    cache = cached_in(run, DiskStore(folder, 10**8, "a" * 64), batches)
    whole = first_of(batches, 1)
    expected = kept(run, cache.of(whole))
    batch = next(batches.epoch(1, lambda sample, view: True))
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    assert_same(kept(run, cache.of(batch)), expected)


@pytest.mark.parametrize("features", ["frozen", "trained"])
def test_a_phase_gives_the_same_losses_with_and_without_the_store(
    run: Run, features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, start = (
        plan_for("text", epochs=4, features=features),
        {k: v.clone() for k, v in run.model.state_dict().items()},
    )
    losses: list[list[float]] = []
    passes: list[int] = []
    for store in (None, MemoryStore(10**8)):
        run.model.load_state_dict(start)
        counted = Counted(run, monkeypatch)
        steps: list[Step] = []
        train_phase(build_phase(run, plan, 1, 0, BOTH, store), StepCallback(steps.append))
        losses.append([step.loss for step in steps])
        passes.append(counted.images)
        monkeypatch.undo()
    assert losses[0] == losses[1]
    count = len(run.data.sets["train"].samples)
    assert count % FIXED_BATCH == 0
    # Four epochs of two views: half of the frozen passes are left, and of trained features the plain pass is.
    assert passes == ([4 * count, 2 * count] if features == "frozen" else [8 * count, 6 * count])


def test_vv_attention_over_the_batch_is_never_kept(small_experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aaclip_kit.run.assemble import open_feature_store

    assert open_feature_store(build(small_experiment, "switches.surgery_attention=batch")) is None
    assert isinstance(open_feature_store(build(small_experiment)), MemoryStore)
    assert open_feature_store(build(small_experiment, "cache.features=off")) is None
