"""Batches: normalised as the backbone says, in an order and with draws that the key alone decides."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from aaclip_kit import Sample, UserError
from aaclip_kit.data.decoded import Decoded
from aaclip_kit.data.loader import Augment, Batch, Pixels, TrainBatches
from aaclip_kit.data.loader import test_batches as scored_batches
from aaclip_kit.experiment.schema import AugmentationTable

from ..helpers import assert_close

PIXELS = Pixels(16, (0.5, 0.25, 0.0), (0.25, 0.5, 1.0))


@pytest.fixture(scope="module")
def samples(defects: Path) -> tuple[Sample, ...]:
    found = []
    for name in ("red_cloth", "green_wood"):
        for kind in ("good", "spot"):
            for number in range(4):
                mask = defects / name / "ground_truth" / "spot" / f"{number:03}_mask.png"
                image = defects / name / "test" / kind / f"{number:03}.png"
                found.append(Sample(image, name, 1 if kind == "spot" else 0, mask if kind == "spot" else None))
    return tuple(found)


def training(
    samples: tuple[Sample, ...], key: tuple[int, ...] = (3, 1, 0), workers: int = 0, **options: Any
) -> TrainBatches:
    table = options.pop("table", AugmentationTable())
    augment: Augment = options.pop("augment", "geometry_and_color")
    return TrainBatches(
        samples, PIXELS, table, augment=augment, batch_size=options.pop("batch_size", 6), key=key, workers=workers
    )


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.masks, b.masks) and a.samples == b.samples
        for a, b in zip(first, second, strict=True)
    )


def test_images_are_normalised_channel_by_channel(samples: tuple[Sample, ...]) -> None:
    batch = next(scored_batches(samples, PIXELS, 3))
    assert batch.images.shape == (3, 3, 16, 16)
    with Image.open(samples[1].image) as picture:
        values = np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC), np.float64) / 255
    expected = (values - np.array(PIXELS.mean)) / np.array(PIXELS.std)
    assert_close(batch.images[1], torch.from_numpy(expected.transpose(2, 0, 1)).float())


def test_test_batches_hold_every_sample_in_order_with_its_mask(samples: tuple[Sample, ...]) -> None:
    batches = list(scored_batches(samples, PIXELS, 5))
    assert [len(batch.samples) for batch in batches] == [5, 5, 5, 1]
    assert tuple(sample for batch in batches for sample in batch.samples) == samples
    for batch in batches:
        assert batch.labels.tolist() == [sample.label for sample in batch.samples]
        assert batch.classes == tuple(sample.class_name for sample in batch.samples)
        assert (batch.masks.flatten(1).sum(dim=1) > 0).long().tolist() == batch.labels.tolist()
        assert set(batch.masks.unique().tolist()) <= {0.0, 1.0}


def test_an_epoch_holds_every_sample_once_and_epochs_differ(samples: tuple[Sample, ...]) -> None:
    batches = training(samples)
    assert batches.steps == 3
    first, second = list(batches.epoch(1)), list(batches.epoch(2))
    for epoch in (first, second):
        assert len(epoch) == batches.steps
        assert sorted(str(sample.image) for batch in epoch for sample in batch.samples) == sorted(
            str(sample.image) for sample in samples
        )
    assert [batch.samples for batch in first] != [batch.samples for batch in second]


def test_the_key_decides_everything(samples: tuple[Sample, ...]) -> None:
    first = list(training(samples).epoch(1))
    torch.manual_seed(99)
    np.random.seed(99)
    assert same(first, list(training(samples).epoch(1)))
    for key in ((4, 1, 0), (3, 2, 0), (3, 1, 1)):
        assert not same(first, list(training(samples, key).epoch(1)))


@pytest.mark.parametrize("augment", ["none", "geometry", "geometry_and_color"])
def test_the_number_of_workers_changes_nothing(samples: tuple[Sample, ...], augment: Augment) -> None:
    alone, helped = (list(training(samples, workers=n, augment=augment).epoch(1)) for n in (0, 2))
    assert same(alone, helped)


def test_workers_change_nothing_in_a_test_either(samples: tuple[Sample, ...]) -> None:
    assert same(list(scored_batches(samples, PIXELS, 5, 0)), list(scored_batches(samples, PIXELS, 5, 2)))


def test_each_kind_of_augmentation_does_what_its_name_says(samples: tuple[Sample, ...]) -> None:
    """The order is the key's and the same for all three."""
    plain, moved, coloured = (
        list(training(samples, augment=kind).epoch(1)) for kind in ("none", "geometry", "geometry_and_color")
    )
    still = list(training(samples, table=AugmentationTable(geometry=0)).epoch(1))
    for a, b, c, d in zip(plain, moved, coloured, still, strict=True):
        assert a.samples == b.samples == c.samples == d.samples
        assert not torch.equal(a.images, b.images)
        assert not torch.equal(a.masks, b.masks)
        assert torch.equal(a.masks, d.masks), "colours leave masks alone"
        assert not torch.equal(a.images, d.images)
        assert not torch.equal(b.images, c.images)


def test_plain_training_batches_are_the_test_images(samples: tuple[Sample, ...]) -> None:
    by_sample = {
        batch.samples[i]: (batch.images[i], batch.masks[i])
        for batch in scored_batches(samples, PIXELS, 4)
        for i in range(len(batch.samples))
    }
    still = AugmentationTable(geometry=0, color=0)
    for batch in training(samples, table=still).epoch(1):
        for i, sample in enumerate(batch.samples):
            assert torch.equal(batch.images[i], by_sample[sample][0])
            assert torch.equal(batch.masks[i], by_sample[sample][1])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_is_gone_is_a_plain_message_from_a_worker_too(
    samples: tuple[Sample, ...], tmp_path: Path, workers: int
) -> None:
    gone = Sample(tmp_path / "gone.png", "red_cloth", 0)
    batches = scored_batches((*samples[:2], gone), PIXELS, 2, workers)
    assert next(batches).samples == samples[:2]
    with pytest.raises(UserError) as caught:
        next(batches)
    assert (caught.value.problem, caught.value.where) == ("there is no such file", str(gone.image))
    assert caught.value.fix == "restore it or take it out of the data set"
    with pytest.raises(UserError, match=r"^\S+gone.png: there is no such file"):
        list(training((gone,), workers=workers).epoch(1))


def test_a_batch_moves_as_a_whole(samples: tuple[Sample, ...]) -> None:
    batch = next(scored_batches(samples, PIXELS, 2)).to(torch.device("meta"))
    assert {batch.images.device.type, batch.masks.device.type, batch.labels.device.type} == {"meta"}
    assert batch.samples == samples[:2]


@pytest.fixture
def complains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending the workers raises, as it may where one of them was killed."""
    end = _MultiProcessingDataLoaderIter._shutdown_workers

    def ended_and_complained(iterator: Any) -> None:
        if not iterator._shutdown:
            end(iterator)
            raise RuntimeError("DataLoader worker is killed by signal")

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_shutdown_workers", ended_and_complained)


@pytest.mark.usefixtures("complains")
def test_batches_that_nobody_wants_any_more_end_their_workers_in_silence(samples: tuple[Sample, ...]) -> None:
    batches = scored_batches(samples, PIXELS, 4, workers=1)
    next(batches)
    assert len(active_children()) == 1
    cast(Generator[Batch, None, None], batches).close()
    assert active_children() == []


@pytest.mark.usefixtures("complains")
def test_workers_are_ended_in_silence_after_a_fault(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    gone = Sample(tmp_path / "gone.png", "red_cloth", 0)
    with pytest.raises(UserError, match="there is no such file"):
        next(scored_batches((gone, *samples), PIXELS, 1, workers=1))
    assert active_children() == []


@pytest.mark.usefixtures("complains")
def test_a_worker_that_dies_is_a_plain_message(samples: tuple[Sample, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(path: Path, content: bytes) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("aaclip_kit.data.decoded.open_picture", dies)
    with pytest.raises(UserError, match="a process that decodes images has died") as caught:
        list(scored_batches(samples, replace(PIXELS, decoded=Decoded()), 4, workers=1))
    assert caught.value.where == "workers"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_all_processes_get_ends_no_worker(samples: tuple[Sample, ...], number: signal.Signals) -> None:
    expected = list(scored_batches(samples, PIXELS, 1))
    batches = scored_batches(samples, PIXELS, 1, workers=2)
    found = [next(batches)]
    workers = active_children()
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid or 0, number)
    found += batches
    assert same(found, expected)
    for worker in workers:
        worker.join(10)
    assert not any(worker.is_alive() for worker in workers)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "signals reach the main process as before"
