"""Between two processes: what is gathered, added up and merged, and phases whose batches they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aaclip_kit import Loss, TowerName
from aaclip_kit.cli.evaluate import _evaluate as evaluated
from aaclip_kit.distributed.collectives import (
    BatchShard,
    Lost,
    all_gather_object,
    all_reduce,
    barrier,
    broadcast,
    sum_gradients,
)
from aaclip_kit.distributed.ranks import ALONE, Ranks
from aaclip_kit.run.assemble import build_phase, open_feature_store
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.phase import Phase, train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import build, phase_for, plan_for
from ..conftest import EXPERIMENT
from ..helpers import assert_close
from .two import in_two

ROWS = torch.arange(15.0).reshape(5, 3)
"""Five images' rows; two ranks have three and two of them."""


def exchanged(ranks: Ranks) -> dict[str, Any]:
    """What each function gives on a rank."""
    own = ROWS[ranks.shares(5)[ranks.rank]].clone().requires_grad_()
    whole = BatchShard(ranks, 5).gathered(own)
    whole.pow(3).sum().backward()
    one = ROWS[:1].clone().requires_grad_()
    single = BatchShard(ranks, 1).gathered(one)
    single.pow(2).sum().backward()
    both, first, none = (nn.Parameter(torch.ones(2)) for _ in range(3))
    double = nn.Parameter(torch.ones(1, dtype=torch.float64))
    both.grad, double.grad = torch.full((2,), ranks.rank + 1.0), torch.ones(1, dtype=torch.float64)
    if ranks.is_first:
        first.grad = torch.tensor([5.0, 7.0])
    sum_gradients(ranks, [both, first, none, double])
    copied = torch.full((2,), float(ranks.rank))
    broadcast(ranks, [copied])
    return {
        "whole": whole.detach(), "own": own.grad, "single": single.detach(), "one": one.grad, "copied": copied,
        "gradients": [parameter.grad for parameter in (both, first, none, double)],
        "merged": all_gather_object(ranks, {"rank": ranks.rank}),
        "summed": all_reduce(ranks, torch.tensor([ranks.rank + 1.0])),
    }  # fmt: skip


@pytest.mark.slow
def test_what_two_processes_tell_one_another(pair: Pair) -> None:
    found = [rank["exchanged"] for rank in pair]
    expected = 3 * ROWS**2
    assert_close(torch.cat([found[0]["own"], found[1]["own"]]), expected)
    for rank in found:
        assert_close(rank["whole"], ROWS)
        assert_close(rank["single"], ROWS[:1])
        both, first, none, double = rank["gradients"]
        assert_close(both, [3.0, 3.0])
        assert_close(first, [5.0, 7.0])
        assert none is None and double.dtype == torch.float64 and double.item() == 2
        assert rank["merged"] == [{"rank": 0}, {"rank": 1}]
        assert rank["summed"].item() == 3
        assert_close(rank["copied"], [0.0, 0.0])
    assert_close(found[0]["one"], 2 * ROWS[:1])
    assert_close(found[1]["one"], torch.zeros(1, 3))  # its share of one image is empty


def test_a_process_alone_keeps_what_it_has() -> None:
    rows, parameter = ROWS.clone(), nn.Parameter(torch.ones(1))
    sum_gradients(ALONE, [parameter])
    assert BatchShard(ALONE, 5).gathered(rows) is rows and BatchShard(ALONE, 5).weight == 1
    assert all_gather_object(ALONE, rows)[0] is rows and all_reduce(ALONE, rows) is rows and parameter.grad is None


class Spread(Loss):
    """Of the batch as a whole: no mean over its images. Every image and both kinds of targets count."""

    needs = ("level_probabilities", "text_features", "masks", "labels")

    def forward(self, **named: Any) -> dict[str, Tensor]:
        anomalous = torch.stack([found[:, 1].mean(dim=(1, 2)) for found in named["level_probabilities"].values()])
        against = named["masks"].mean(dim=(1, 2, 3)) + named["labels"]
        return {"spread": 10 * (anomalous - against).std(), "text": named["text_features"].mean(dim=0).pow(3).sum()}


SETTINGS: dict[str, tuple[TowerName, int, tuple[str, ...]]] = {
    "text": ("text", 7, ()),  # a last batch of one image: nothing is left for the second process
    "text, mean context": ("text", 3, ("switches.image_context=batch_mean",)),
    "vision": ("vision", 3, ()),
    "vision, fewer images than processes": ("vision", 1, ()),
}


def shared_phase(ranks: Ranks, path: Path, setting: str) -> tuple[list[Step], dict[str, Tensor]]:
    """One epoch of a phase with losses of both kinds; what its steps report, and the weights that it leaves."""
    tower, size, overrides = SETTINGS[setting]
    run = build(path, "switches.dropout=false", *overrides)
    built = run.losses[tower]
    losses = WeightedLosses({**built.losses, "spread": (Spread(), 0.5)})
    phase: Phase = phase_for(run, plan_for(tower, batch_size=size), losses)
    phase = replace(phase, batches=replace(phase.batches, ranks=ranks))
    steps: list[Step] = []
    train_phase(phase, StepCallback(steps.append))
    return steps, {name: value.detach() for name, value in run.model.trained_parameters(tower).items()}


def scored(ranks: Ranks, trained: Path) -> list[dict[str, Any]]:
    """What `aakit evaluate` finds of whole images and of tiles."""
    overrides = ["device=cpu", "evaluation.batch_size=3"]
    return [evaluated(trained, None, overrides, ranks, full_size=False, tiles=tiles) for tiles in (None, "2")]


def looked_up(ranks: Ranks, path: Path, folder: Path) -> list[int]:
    """How many images a rank computes in two text phases of one view each, kept in a folder that ranks share."""
    disk = ["cache.features=disk", f"cache.folder={folder}", "augmentation.views=1", "switches.dropout=false"]
    run = replace(build(path, *disk), ranks=ranks)
    store, computed, embed = open_feature_store(run), [0, 0], run.model.backbone.embed_image
    for number in (0, 1):

        def counting(images: Tensor, number: int = number) -> Tensor:
            computed[number] += len(images.unique(dim=0))  # filled up to the size that all are computed in
            made: Tensor = embed(images)
            return made

        run.model.backbone.embed_image = counting  # type: ignore[method-assign]
        phase = build_phase(run, plan_for("text"), 1, number, frozenset({"text", "vision"}), store)
        train_phase(phase, StepCallback())
        barrier(ranks)
    return computed


def everything(ranks: Ranks, path: Path, trained: Path, folder: Path) -> dict[str, Any]:
    """All that two processes are asked here, in one pair of them."""
    return {
        "exchanged": exchanged(ranks),
        "phases": {setting: shared_phase(ranks, path, setting) for setting in SETTINGS},
        "scored": scored(ranks, trained),
        "looked up": looked_up(ranks, path, folder),
    }


Pair = list[dict[str, Any]]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path) -> Path:
    """The small experiment, for all tests of this module."""
    path = tmp_path_factory.mktemp("pair") / "small.toml"
    path.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
    return path


@pytest.fixture(scope="module")
def pair(file: Path, trained: Path) -> Pair:
    return in_two(file.parent, everything, file, trained, file.parent / "features")


@pytest.mark.slow
def test_two_processes_evaluate_as_one_does(pair: Pair, trained: Path) -> None:
    assert pair[0]["scored"] == pair[1]["scored"]
    for together, alone in zip(pair[0]["scored"], scored(ALONE, trained), strict=True):
        found, expected = (record["classes"].pop("green_wood") for record in (together, alone))
        assert {**together, "mean": None} == {**alone, "mean": None} and found.keys() == expected.keys()
        # weights are added up in another order
        assert_close(list(found.values()), list(expected.values()), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_folder_of_features_is_shared_and_each_image_computed_once(pair: Pair) -> None:
    first, second = (sum(rank["looked up"][number] for rank in pair) for number in (0, 1))
    assert (first, second) == (8, 0)
    assert all(rank["looked up"] == [4, 0] for rank in pair), "each computes its share"


LATE = {
    "merged": lambda ranks: all_gather_object(ranks, None),
    "summed": lambda ranks: all_reduce(ranks, torch.ones(1)),
    "copied": lambda ranks: broadcast(ranks, [torch.ones(1)]),
    "gathered": lambda ranks: BatchShard(ranks, 4).gathered(torch.ones(2, 1)),
}


@pytest.mark.parametrize("ask", LATE.values(), ids=LATE)
def test_a_process_whose_partners_have_died_says_that_it_cannot_reach_them(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Ranks], object]
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise RuntimeError("Connection closed by peer\nand a long trace")

    for name in ("all_gather_object", "all_reduce", "broadcast", "all_gather"):
        monkeypatch.setattr(torch.distributed, name, gone)
    with pytest.raises(Lost) as caught:
        ask(Ranks(0, 2, 0))
    problem = "the other processes of this run cannot be reached any more (Connection closed by peer)"
    assert (caught.value.problem, caught.value.where) == (problem, "torchrun")


@pytest.mark.slow
def test_two_processes_train_as_one_does(pair: Pair, file: Path) -> None:
    first, second = (rank["phases"] for rank in pair)
    for setting in SETTINGS:
        steps, _ = shared_phase(ALONE, file, setting)
        for step, other in zip(steps, first[setting][0], strict=True):
            assert_close(other.loss, step.loss, rtol=1e-5)
            assert other.terms.keys() == step.terms.keys()
            assert_close(list(other.terms.values()), list(step.terms.values()), rtol=1e-5)
            # Float32 sums of many products, in another order.
            assert_close(list(other.gradient_norms.values()), list(step.gradient_norms.values()), rtol=1e-4)
        assert second[setting][0] == first[setting][0]
        weights, others = first[setting][1], second[setting][1]
        assert all(torch.equal(weights[name], others[name]) for name in weights)
