"""What kept features depend on is in their keys: a folder on the disk serves no other experiment's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from aaclip_kit import Reads, Sample
from aaclip_kit.cache.feature_store import DiskStore, MemoryStore
from aaclip_kit.data.loader import View
from aaclip_kit.experiment.schema import AugmentationTable
from aaclip_kit.run.assemble import open_feature_store
from aaclip_kit.training.feature_cache import CachedFeatures, kept_as

from ..build import build

SAMPLE, OTHER = Sample(Path("a.png"), "cloth", 0), Sample(Path("b.png"), "cloth", 0)


def test_a_key_depends_on_all_that_makes_a_view_and_on_nothing_else(small_experiment: Path) -> None:
    image = build(small_experiment).model.image

    def key(sample: Sample = SAMPLE, view: View = (3, 1), what: str = "levels", **changes: Any) -> str:
        table = AugmentationTable(**changes)
        contents = {SAMPLE.image: "11", OTHER.image: "22"}
        return CachedFeatures(image, MemoryStore(1), contents, table, lambda *_: torch.zeros(3, 8, 8)).key(
            sample, view, what
        )

    keys = [
        key(), key(OTHER), key(view=(3, 2)), key(view=()), key(what="class"),
        key(geometry=0.4), key(rotation=20.0), key(translation=0.1),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert key() == key(color=0.1, jitter=0.1) == key(views=3), "colours stay in a text phase"
    assert key(view=()) == key(view=(), translation=0.1, geometry=0.4, rotation=20.0), "an image as it is"


def test_what_is_kept_goes_by_how_it_was_read_and_class_embeddings_are_shared() -> None:
    some = [Reads(), Reads(projected=True), Reads(normed=False), Reads(surgery="values"), Reads(surgery="beside")]
    some.append(Reads(surgery="values", surgery_start=3))
    assert len({kept_as(reads)["levels"] for reads in some}) == len(some)
    more = replace(some[1], class_token="normed", windows=(2, 3))
    assert kept_as(more)["levels"] == kept_as(some[1])["levels"]
    assert kept_as(more)["class"] == kept_as(Reads(class_token="normed"), levels=False)["class"]
    assert kept_as(Reads(class_token="raw"))["class"] != kept_as(more)["class"]
    assert kept_as(more)["window2"] != kept_as(more)["window3"]


@pytest.mark.parametrize("change", ["model.levels=[2,4,6]", "precision=bf16", "backbone.image_size=64"])
def test_a_folder_serves_no_features_of_other_levels_precision_or_size(
    small_experiment: Path, tmp_path: Path, change: str
) -> None:
    def opened(*overrides: str) -> DiskStore:
        disk = ["cache.features=disk", f"cache.folder={tmp_path / 'features'}"]
        store = open_feature_store(build(small_experiment, *disk, *overrides))
        assert isinstance(store, DiskStore)
        return store

    key, features = "a" * 64, torch.arange(6.0)
    opened().put(key, features)
    again = opened("seed=4", "evaluation.batch_size=2").get(key)
    assert again is not None and torch.equal(again, features)
    assert opened(change).get(key) is None
