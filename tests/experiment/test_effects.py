"""What a key acts on: said once, beside the key, and every list of keys comes from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from aaclip_kit import UserError
from aaclip_kit.experiment import load
from aaclip_kit.experiment.effects import acts_on, check_overrides, effects, keys_acting_on
from aaclip_kit.experiment.schema import ActsOn, ExperimentFile
from aaclip_kit.plugin_host.discovery import discover


def keys_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, info in model.model_fields.items():
        table: Any = info.annotation
        inner = isinstance(table, type) and issubclass(table, BaseModel)
        found |= keys_of(table, f"{prefix}{name}.") if inner else {f"{prefix}{name}"}
    return found


def test_every_key_says_what_it_acts_on() -> None:
    assert keys_of(ExperimentFile) == set(effects())
    assert {kind for kinds in effects().values() for kind in kinds} == set(get_args(ActsOn))


def test_keys_of_a_component_act_as_its_table_does() -> None:
    assert acts_on("stages.text_to_image.scale", "scoring") and acts_on("data.test.root", "metrics")
    assert not acts_on("data.test.root", "training") and not acts_on("nothing.of.the.kind", *get_args(ActsOn))


def test_how_often_and_in_which_format_weights_are_saved_does_not_act_on_training() -> None:
    training = keys_acting_on("training")
    assert not {"checkpoint.every", "switches.checkpoint_format", "cache.features", "compute.recompute"} & set(training)
    assert {"seed", "scheduler", "augmentation.views", "calibration.held_out", "switches.dropout"} <= set(training)


def test_an_override_without_effect_on_a_trained_model_is_refused() -> None:
    check_overrides(["evaluation.blur=false", "backbone.model=x", "switches={}"], "scoring", "execution")
    for key in ("switches.dropout", "evaluation.heatmaps", "compute.recompute", "seed", "data.test.root"):
        with pytest.raises(UserError, match=f"{key} has no effect on a model that is trained already"):
            check_overrides([f"{key}=1"], "scoring", "execution")
    check_overrides(["data.test.root=x"], "metrics")
    check_overrides(["reference.weight=2"], "scoring")
    with pytest.raises(UserError, match=r"data\.reference\.shots has no effect"):  # the bank is there already
        check_overrides(["data.reference.shots=3"], "scoring", "metrics", "execution")


def test_a_key_under_its_old_name_is_read_with_a_warning(small_experiment: Path) -> None:
    with pytest.warns(FutureWarning, match=r"switches\.quoted_loop will be gone .* use switches\.reported_loop"):
        experiment = load(small_experiment, discover(), ["switches.quoted_loop=best_on_test"])
    assert experiment.switches.reported_loop == "best_on_test"
    both = ["switches.quoted_loop=last", "switches.reported_loop=last"]
    with pytest.raises(UserError, match=r"switches\.quoted_loop: unknown key"):
        load(small_experiment, discover(), both)
