"""Keys of [data] that are the engine's own: `allow_overlap`, and `on_bad_image`, `shots` and `label` of each role."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import Options, UserError
from aaclip_kit.contracts.data import Selection, Shots
from aaclip_kit.experiment import Experiment, check, resolved_toml
from aaclip_kit.experiment.overrides import read
from aaclip_kit.plugin_host.registration import RESERVED
from aaclip_kit.plugin_host.registry import Registry

Faults = Callable[..., list[UserError]]
Load = Callable[..., Experiment]


def test_they_are_taken_out_of_the_plugins_options(checked: Load) -> None:
    experiment = checked("data.train.on_bad_image=skip", "data.train.shots={normal=4, anomalous=2}")
    assert experiment.data["train"][0].selection == Selection(on_bad_image="skip", shots=Shots(normal=4, anomalous=2))
    assert experiment.data["test"][0].selection == Selection(on_bad_image="error", shots=None)
    assert not set(Selection.model_fields) & experiment.data["train"][0].options.model_fields_set
    assert (experiment.file.data.allow_overlap, checked("data.allow_overlap=true").file.data.allow_overlap) == (
        False,
        True,
    )


def test_no_plugin_may_have_them() -> None:
    assert RESERVED["data-set"] == {"use", "on_bad_image", "shots", "ignore", "label"}


@pytest.mark.parametrize(
    ("override", "where", "said"),
    [
        ("data.train.on_bad_image=ignore", "data.train.on_bad_image", "input should be 'error' or 'skip'"),
        ("data.train.shots=4", "data.train.shots", "a table"),
        ("data.train.shots={normal=4}", "data.train.shots.anomalous", "is missing"),
        ("data.train.shots={normal=-1, anomalous=2}", "data.train.shots.normal", "greater than or equal to 0"),
        ("data.train.shots={normal=1.5, anomalous=2}", "data.train.shots.normal", "valid integer"),
        ("data.train.shots={normal=0, anomalous=0}", "data.train.shots", "no image is asked for"),
        ("data.train.label=", "data.train.label", "at least 1 character"),
        ('data.train.label="a\\tb"', "data.train.label", "holds what cannot be shown"),
        ("data.allow_overlap=yes", "data.allow_overlap", "valid boolean"),
    ],
)
def test_wrong_values_are_named(faults: Faults, override: str, where: str, said: str) -> None:
    (fault,) = faults(override)
    assert str(fault.where).endswith(f": {where}")
    assert said in fault.problem
    assert fault.fix


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("data.train.on_bad_imag=skip", "on_bad_image"),
        ("data.train.shot={normal=1, anomalous=1}", "shots"),
        ("data.train.shots={normal=1, anomalous=1, anomalos=1}", "anomalous"),
        ("data.allow_overlaps=true", "allow_overlap"),
    ],
)
def test_misspelt_keys_are_refused_with_the_nearest(faults: Faults, override: str, near: str) -> None:
    (fault,) = [fault for fault in faults(override) if fault.problem == "unknown key"]
    assert f"did you mean '{near}'?" in str(fault.fix)


def test_they_stay_where_another_data_set_is_named(file: Path) -> None:
    chosen = ["data.test.on_bad_image=skip", "data.test.use=synthetic", "data.test.split=test"]
    assert read(file, chosen)["data"]["test"] == {"use": "synthetic", "split": "test", "on_bad_image": "skip"}


def test_the_resolved_copy_has_them(checked: Load, file: Path, registry: Registry, tmp_path: Path) -> None:
    first = checked("data.allow_overlap=true", "data.test.shots={normal=1, anomalous=0}")
    (tmp_path / "resolved.toml").write_text(resolved_toml(first))
    tables: dict[str, Any] = read(tmp_path / "resolved.toml")
    assert tables["data"]["allow_overlap"] is True
    assert tables["data"]["test"]["shots"] == {"normal": 1, "anomalous": 0}
    assert (tables["data"]["train"]["on_bad_image"], "shots" in tables["data"]["train"]) == ("error", False)
    again = check(tables, registry, "resolved")
    assert {role: [one.selection for one in chosen] for role, chosen in again.data.items()} == {
        role: [one.selection for one in chosen] for role, chosen in first.data.items()
    }
    assert isinstance(first.data["test"][0].options, Options)
