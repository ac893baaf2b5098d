"""Stored thresholds: which changes of an experiment they bear."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from aaclip_kit.checkpoints.find_checkpoint import find_trained
from aaclip_kit.checkpoints.provenance import Metadata
from aaclip_kit.checkpoints.stored_thresholds import changed_keys, objections, origin, stored_thresholds
from aaclip_kit.evaluation.calibration import Calibration, Rates, What
from aaclip_kit.experiment import load, resolved_toml
from aaclip_kit.experiment.effects import keys_acting_on
from aaclip_kit.plugin_host.discovery import discover


def test_the_keys_that_withhold_thresholds_are_those_that_act_on_scores() -> None:
    scoring = {key for key in keys_acting_on("scoring") if key.startswith("switches.")}
    assert scoring == {
        f"switches.{name}"
        for name in (
            *("surgery_attention", "image_context", "text_context_padding"),
            *("trained_context", "evaluation_attention"),
        )
    }


def test_a_checkpoint_of_many_classes_and_a_long_source_is_told_in_short() -> None:
    classes, source = [f"part_{number}" for number in range(40)], "s" * 10_000
    absurd: dict[What, Rates] = {"image": {"fpr": 0.7, "f1": 0.5}}
    found = Calibration(
        rule="fpr", fpr=0.1, source=source, counts={"normal": 3}, image_threshold=0.5, map_threshold=None,
        achieved=absurd, classes=classes,
    )  # fmt: skip
    first, second = objections(Metadata(calibration=found), {f"other_{n}": "x" * n for n in range(1, 21)}, ["image"])
    assert "(part_0, part_1, part_2, part_3, part_4, part_5, part_6, part_7 and 32 more), not on x, xx" in first
    assert "xxxxxxxx and 12 more: " in first
    assert len(second) < 400 and len(origin(found, "image")) < 400


def test_what_does_not_act_on_scores_and_a_moved_backbone_are_no_change(trained: Path, tmp_path: Path) -> None:
    own = find_trained(trained, discover()).experiment
    (tmp_path / "moved").mkdir()
    model = Path(own.file.backbone["model"])
    moved = shutil.copytree(model, tmp_path / "moved" / model.name)
    free = [f"backbone.model={moved}", "evaluation.batch_size=2", "evaluation.heatmaps=0", "switches.dropout=false"]
    found = find_trained(trained, discover(), overrides=[*free, "seed=5", "scheduler.text_epochs=[2, 2]"])
    assert changed_keys(resolved_toml(own), found.experiment) == []
    stored = stored_thresholds(found)
    assert stored.image is not None and stored.map is not None and stored.reasons == {}
    renamed = shutil.copytree(model, tmp_path / "moved" / "other")
    found = find_trained(trained, discover(), overrides=[f"backbone.model={renamed}"])
    assert stored_thresholds(found).reasons.keys() == {"image", "map"}


def test_another_experiment_of_the_same_kind_and_one_of_another(trained: Path, small_experiment: Path) -> None:
    """The file leaves the levels to the backbone; the copy in the checkpoint spells them out."""
    assert stored_thresholds(find_trained(trained, discover(), small_experiment)).reasons == {}
    assert load(small_experiment, discover()).file.model.levels is None
    text = small_experiment.read_text().replace('"image_to_text"\n', '"image_to_text"\nscale = 0.4\n')
    small_experiment.write_text(text)
    found = stored_thresholds(find_trained(trained, discover(), small_experiment))
    assert (found.image, found.map) == (None, None)
    assert "stages.image_to_text.scale is 0.4" in found.reasons["map"]


@pytest.mark.parametrize(
    ("override", "withheld"),
    [
        ("evaluation.image_score=mean", {"image", "map"}),
        ("evaluation.image_score=map", {"image", "map"}),
        ("evaluation.image_score=detection", {"map"}),
        ("evaluation.blur=false", set()),
    ],
)
def test_the_domain_matters_to_what_the_blur_acts_on(trained: Path, override: str, withheld: set[str]) -> None:
    """As if the thresholds had been chosen for scores of this kind."""
    found = find_trained(trained, discover(), overrides=[override])
    own = replace(found, metadata=replace(found.metadata, experiment=resolved_toml(found.experiment)))
    medical, industrial = stored_thresholds(own, "medical"), stored_thresholds(own, "industrial")
    assert medical.reasons.keys() == withheld
    assert {name for name in ("image", "map") if getattr(medical, name) is None} == withheld
    assert industrial.reasons == {} and None not in (industrial.image, industrial.map)


@pytest.mark.parametrize("score", ["map", "detection"])
def test_thresholds_of_another_image_score_are_withheld(trained: Path, score: str) -> None:
    found = stored_thresholds(find_trained(trained, discover(), overrides=[f"evaluation.image_score={score}"]))
    assert (found.image, found.map) == (None, None)
    assert found.reasons["image"].endswith(f"evaluation.image_score is {score}, and was mean")
