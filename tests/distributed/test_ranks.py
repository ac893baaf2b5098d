"""Which process this is, its share of the work, and what several of them cannot do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aaclip_kit import UserError
from aaclip_kit.data.loader import TrainBatches
from aaclip_kit.distributed.compute_device import ComputeDevice
from aaclip_kit.distributed.ranks import ALONE, Ranks
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble
from aaclip_kit.run.fit_memory import fit_memory

from ..build import STILL, build

TOLD = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def test_torchruns_words_name_the_process() -> None:
    assert Ranks.of_environment(TOLD) == Ranks(5, 8, 1)
    assert Ranks.of_environment({}) == ALONE
    assert Ranks.of_environment({**TOLD, "MASTER_PORT": ""}) == ALONE
    assert not ALONE.is_distributed and ALONE.is_first and not Ranks(5, 8, 1).is_first


@pytest.mark.parametrize("changes", [{"RANK": "8"}, {"RANK": "-1"}, {"WORLD_SIZE": "two"}, {"LOCAL_RANK": "-1"}])
def test_words_that_name_no_process_are_refused(changes: dict[str, str]) -> None:
    ((name, value),) = changes.items()
    with pytest.raises(UserError, match=f"{name}={value}") as caught:
        Ranks.of_environment({**TOLD, **changes})
    assert caught.value.where == "environment"


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(5, 2, [3, 2]), (7, 3, [3, 2, 2]), (1, 2, [1, 0]), (0, 2, [0, 0])]
)
def test_shares_are_contiguous_and_alike_in_size(count: int, size: int, sizes: list[int]) -> None:
    things = list(range(count))
    own = [list(Ranks(rank, size).own(things)) for rank in range(size)]
    assert [len(share) for share in own] == sizes
    assert [thing for share in own for thing in share] == things


def test_each_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert ComputeDevice.choose("auto", "fp32", Ranks(3, 4, 1)).device == torch.device("cuda:1")
    assert ComputeDevice.choose("cuda:1", "fp32").device == torch.device("cuda:1")
    assert ComputeDevice.choose("cpu", "fp32", Ranks(3, 4, 1)).device == torch.device("cpu")
    with pytest.raises(UserError, match="'cuda:1', which 4 processes would share"):
        ComputeDevice.choose("cuda:1", "fp32", Ranks(3, 4, 1))
    with pytest.raises(UserError, match="there are 2 CUDA devices, too few for process 3"):
        ComputeDevice.choose("auto", "fp32", Ranks(3, 4, 2))


def test_what_several_processes_would_do_otherwise_is_refused(small_experiment: Path) -> None:
    experiment = load(small_experiment, discover(), ["switches.surgery_attention='batch'"])
    with pytest.raises(UserError, match="processes") as caught:
        assemble(experiment, Ranks(0, 2, 0))
    assert caught.value.where == "switches.surgery_attention"


def test_processes_may_be_more_than_the_images_of_a_batch(small_experiment: Path) -> None:
    run = assemble(load(small_experiment, discover(), ["scheduler.image_batch=2"]), Ranks(2, 3, 2))
    assert fit_memory(run).ranks.size == 3


def test_shared_batches_are_those_of_one_process(small_experiment: Path) -> None:
    run = build(small_experiment)
    samples = run.data.sets["train"].samples
    whole = TrainBatches(samples, run.pixels, STILL, augment="geometry_and_color", batch_size=7, key=(1, 2, 3))
    first, second = (list(replace(whole, ranks=Ranks(rank, 2)).epoch(1)) for rank in range(2))
    full, rest = whole.epoch(1)
    assert torch.equal(torch.cat([first[0].images, second[0].images]), full.images)
    assert first[0].samples + second[0].samples == full.samples and first[0].whole == second[0].whole == 7
    # Nothing is left for the second process, which has the first one's image, without weight.
    assert first[1].samples == second[1].samples == rest.samples and second[1].whole == 1


def test_scored_shares_are_whole_batches_and_cover_every_image_once(small_experiment: Path) -> None:
    run = build(small_experiment, "evaluation.batch_size=3", 'data.test.classes=["red_cloth", "green_wood"]',
                "data.allow_overlap=true")  # fmt: skip
    data, file = run.data.sets["test"], run.experiment.file
    whole = Evaluator(run.model, run.compute_device, run.pixels, table=file.evaluation, switches=file.switches)
    assert set(whole.shares(data).values()) == {range(8)}
    shares = [replace(whole, ranks=Ranks(rank, 4)).shares(data) for rank in range(4)]
    for name in data.classes:
        assert [place for share in shares for place in share[name]] == list(range(8))
        assert all(share[name].start % 3 == 0 for share in shares)
    assert [sum(map(len, share.values())) for share in shares] == [6, 2, 6, 2]
