"""A card says what its model was made of and measured on, and nothing that a name could make a page do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from scipy import stats

from aaclip_kit.checkpoints.provenance import Metadata, Provenance
from aaclip_kit.comparison.finished_runs import read_run
from aaclip_kit.evaluation.calibration import Calibration
from aaclip_kit.sharing.model_card import NOT_FOR, About, model_card

from ..comparison.made import write_run

CHOSEN = Calibration(
    rule="false_alarms", fpr=0.02, source="folder good, each by the memory of the others",
    counts={"normal": 60, "anomalous": 0}, image_threshold=0.25, map_threshold=None,
    achieved={"image": {"fpr": 0.02, "f1": None}}, reasons={"map_threshold": "too few"}, classes=["lid"],
    expected=(0.004, 0.081),
)  # fmt: skip
TABLES: dict[str, Any] = {
    "seed": 3, "backbone": {"use": "open_clip", "model": "../tiny"}, "prompts": {"use": "ensemble"},
    "head": {"use": "projections"}, "stages": {"a": {"use": "residual_adapter"}},
}  # fmt: skip


def about(**changed: Any) -> About:
    metadata = Metadata(Provenance("small", 2, trained_on=("mvtec",)), calibration=CHOSEN)
    own = {"classes": {"lid": {"pixel_auroc": 0.9, "image_auroc": None}}, "mean": {"pixel_auroc": 0.9}}
    given: dict[str, Any] = {
        "repository": "ann/lids", "licence": None, "metadata": metadata, "tables": TABLES, "bytes": 1_500_000,
        "manifest": {"data": {"train": {"counts": {"lid": {"normal": 60}}}}, "seeds": {"seed": 3}},
        "metrics": {"own": own, "before": {"mean": {"pixel_auroc": 0.5}}, "rules": None}, "remembers": {"lid": 60},
        "data_licences": {"mvtec": "no commercial use"}, "versions": {"python": "3.11"},
    }  # fmt: skip
    return About(**{**given, **changed})


def test_the_card_says_data_seeds_figures_and_what_the_model_is_not_for() -> None:
    card = model_card(about())
    for said in (
        "- mvtec: no commercial use", "| train | lid | 60 | 0 |", "Seeds: seed 3.", "| lid | 0.900 | – | – | – | – |",
        "| mean before training | 0.500 |", "without an interval", "trained for 2 loops", "bank.safetensors", *NOT_FOR,
    ):  # fmt: skip
        assert said in card, said


def test_thresholds_come_with_their_origin_and_interval() -> None:
    card = model_card(about())
    assert "- image: 0.25, chosen on 60 good photographs" in card
    assert "of 100 good parts 0 to 6 will be called bad" in card
    assert "- map: none (too few)" in card
    without = model_card(about(metadata=replace(about().metadata, calibration=None)))
    assert "It has none: `aakit calibrate` chooses them" in without


def test_of_several_seeds_the_mean_has_an_interval(tmp_path: Path) -> None:
    values = {1: 0.90, 2: 0.92, 3: 0.97}
    runs = [
        read_run(write_run(tmp_path / str(seed), seed, [{"a": {"pixel_auroc": of}}])) for seed, of in values.items()
    ]
    card = model_card(about(seeds=runs, metadata=Metadata(Provenance("small", 1))))
    low, high = stats.t.interval(0.95, 2, loc=0.93, scale=stats.sem(list(values.values())))
    assert "| mean of 3 seeds | 0.930 | – |" in card
    assert f"| 95 % interval of that | {low:.3f} to {high:.3f} | – |" in card
    assert "without an interval" not in card


def test_a_taught_model_says_what_it_remembers() -> None:
    card = model_card(about(metadata=Metadata(Provenance("teach", 0)), manifest={}, metrics={}))
    assert "features of 60 normal images of lid," in card and "taught by the normal images" in card
    assert "does not say" not in card


def test_a_licence_is_the_users_to_state() -> None:
    assert "license:" not in model_card(about()) and "or nobody may use it" in model_card(about())
    card = model_card(about(licence="apache-2.0"))
    assert card.startswith("---\nlicense: apache-2.0\n") and "nobody may use it" not in card


def test_without_a_run_nothing_is_made_up() -> None:
    card = model_card(about(manifest={}, metrics={}, metadata=Metadata()))
    assert "Nothing was measured" in card and "does not say what it was trained on" in card
    assert "how long it was trained is not known" in card


def test_names_are_shown_letter_by_letter() -> None:
    name = "<script>alert(1)</script>|[x](javascript:y)`\n---\nlicense: mit"
    tables = {**TABLES, "backbone": {"use": name}, "stages": {"a": {"use": name}}}
    data = {"train": {"counts": {name: {"normal": 1}}}}
    chosen = replace(CHOSEN, classes=[name], source=name)
    metadata = Metadata(Provenance(name, 2, trained_on=(name,), imported_from=(name,)), calibration=chosen)
    card = model_card(about(tables=tables, manifest={"data": data, "seeds": {name: 1}}, metadata=metadata))
    assert "<script" not in card.replace("\\<script", "")
    assert "](java" not in card.replace("\\](java", "") and "\nlicense" not in card
