"""Several data sets in one role: read by themselves, joined in order, compared across one another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from aaclip_kit import UserError
from aaclip_kit.data.load_data import Data, load_data
from aaclip_kit.data.scan import scan_dataset
from aaclip_kit.experiment import load
from aaclip_kit.experiment.toml_file import read_toml
from aaclip_kit.plugin_host.discovery import discover

from ..conftest import write_class

Loaded = Callable[..., Data]
Table = dict[str, Any]


@pytest.fixture
def data(tmp_path: Path, defects: Path) -> Path:
    """Two classes more, below another folder."""
    for number, name in enumerate(("blue_felt", "white_silk")):
        write_class(tmp_path / "data" / "more", name, channel=2 - number, seed=7 + number)
    return Path(shutil.copytree(defects, tmp_path / "data", dirs_exist_ok=True))


@pytest.fixture
def of(data: Path) -> Callable[..., Table]:
    """A table of one class's folder."""

    def table(name: str, **keys: Any) -> Table:
        root = data if (data / name).is_dir() else data / "more"
        return {"use": "folder", "root": str(root), "classes": [name], **keys}

    return table


@pytest.fixture
def loaded(small_experiment: Path, of: Callable[..., Table]) -> Loaded:
    """The small experiment's data, with these tables for its roles."""

    def read(*overrides: str, **roles: list[Table]) -> Data:
        tables = read_toml(small_experiment)
        tables["data"] = {"train": of("red_cloth"), "test": of("green_wood"), **roles}
        small_experiment.write_text(tomli_w.dumps(tables))
        return load_data(load(small_experiment, discover(), overrides))

    return read


def test_samples_stand_in_the_order_of_the_file(loaded: Loaded, of: Callable[..., Table]) -> None:
    found = loaded(test=[of("white_silk", real_names={"white_silk": "fine silk"}), of("green_wood")])
    assert found.sets["test"].classes == ("white_silk", "green_wood")
    assert len(found.sets["test"].samples) == 16
    assert found.sets["test"].real_names == {"white_silk": "fine silk", "green_wood": "green wood"}
    assert found.classes("test") == {"folder": ("white_silk",), "folder 2": ("green_wood",)}
    assert found.notes == ()
    print_ = found.fingerprints["test"]
    assert print_ == scan_dataset(found.sets["test"]).fingerprint()
    assert found.records["test"].items() >= print_.as_record().items()


def test_the_manifest_says_of_each_what_it_says_of_one(loaded: Loaded, of: Callable[..., Table]) -> None:
    (bad,) = sorted((Path(of("blue_felt")["root"]) / "blue_felt/test/good").glob("000.png"))
    bad.write_text("no image")
    shots = {"normal": 2, "anomalous": 1}
    found = loaded(train=[of("red_cloth", shots=shots), of("blue_felt", on_bad_image="skip", label="felt")])
    assert len(found.sets["train"].samples) == 3 + 7
    record = found.records["train"]
    alone = loaded(train=[of("red_cloth", shots=shots)]).records["train"]
    assert not {"shots", "skipped", "use"} & record.keys()
    del alone["notes"]
    assert record["sets"]["folder"] == {"use": "folder", "name": None, **alone}
    assert [one["file"] for one in record["sets"]["felt"]["skipped"]] == [str(bad)]
    assert found.notes[0].startswith("data.train: felt: 1 bad images are left out: ")
    json.dumps(record)


def test_an_array_of_one_is_as_one_table(loaded: Loaded, of: Callable[..., Table]) -> None:
    one, other = loaded(), loaded(test=[of("green_wood")])
    assert one == other
    assert "sets" not in one.records["test"]


def test_faults_of_each_are_named_with_its_number(loaded: Loaded, of: Callable[..., Table]) -> None:
    shots = {"normal": 9, "anomalous": 1}
    with pytest.raises(UserError) as caught:
        loaded(train=[of("red_cloth"), of("blue_felt", shots=shots)], test=[{**of("green_wood"), "root": "gone"}])
    where = [str(fault.where) for fault in caught.value.faults]
    assert where[0] == "data.train.1.shots.normal" and len(where) == 2


def test_a_class_of_two_data_sets_is_refused(loaded: Loaded, of: Callable[..., Table]) -> None:
    with pytest.raises(UserError, match="drawn and folder have classes of the same name: green_wood") as caught:
        loaded(test=[of("green_wood", label="drawn"), of("green_wood")])
    assert caught.value.where == "data.test.0 / data.test.1"
    assert "`classes`" in str(caught.value.fix)


def test_two_domains_in_one_role_are_refused(loaded: Loaded, of: Callable[..., Table]) -> None:
    with pytest.raises(UserError, match="folder is industrial, folder 2 is medical") as caught:
        loaded(test=[of("green_wood"), of("blue_felt", domain="medical")])
    assert caught.value.where == "data.test.0 / data.test.1"


def test_an_image_that_two_of_one_role_have_is_noted(loaded: Loaded, of: Callable[..., Table], data: Path) -> None:
    twice = data / "more/blue_felt/test/good/zzz.png"
    shutil.copy(data / "green_wood/test/good/000.png", twice)
    found = loaded(test=[of("green_wood"), of("blue_felt")])
    assert found.notes == (f"data.test: 1 images are there a second time; the first is {twice}",)


@pytest.mark.parametrize("place", [0, 1])
def test_an_image_of_another_role_is_refused_in_any_of_them(
    loaded: Loaded, of: Callable[..., Table], data: Path, place: int
) -> None:
    name = ("green_wood", "blue_felt")[place]
    shutil.copy(data / "red_cloth/test/good/000.png", Path(of(name)["root"]) / name / "test/good/zzz.png")
    with pytest.raises(UserError, match=r"data\.train and data\.test share 1 images by content"):
        loaded(test=[of("green_wood"), of("blue_felt")])


def test_the_same_data_set_in_another_role_is_refused_in_any_of_them(loaded: Loaded, of: Callable[..., Table]) -> None:
    drawn = [of("blue_felt", shots={"normal": normal, "anomalous": 4 - normal}) for normal in (0, 4)]
    with pytest.raises(
        UserError, match=r"data\.train\.1 and data\.test\.0 are the same data set with the same options"
    ):
        loaded(train=[of("red_cloth"), drawn[0]], test=[drawn[1], of("green_wood")])


def test_training_needs_anomalous_images_in_one_of_them(loaded: Loaded, of: Callable[..., Table]) -> None:
    normal = of("blue_felt", shots={"normal": 4, "anomalous": 0})
    assert len(loaded(train=[of("red_cloth"), normal]).sets["train"].samples) == 12
    with pytest.raises(UserError, match="none of its 4 images is anomalous"):
        loaded(train=[normal])


def test_every_published_data_set_is_named_and_said_not_to_be_comparable(
    loaded: Loaded, of: Callable[..., Table], data: Path
) -> None:
    (data / "green_wood").rename(data / "tubes")
    (data / "more/blue_felt").rename(data / "more/screw")
    public = [{**of("tubes"), "use": "mpdd"}, {**of("screw"), "use": "mvtec"}, of("white_silk")]
    found = loaded(test=public)
    assert found.names("test") == ("mpdd", "mvtec")
    assert found.names("train") == ()
    reason = "1 of the 6 classes of MPDD are read"
    sets = found.records["test"]["sets"]
    assert [one["name"] for one in sets.values()] == ["mpdd", "mvtec", None]
    assert sets["mpdd"]["not_comparable"] == reason
    assert f"data.test: mpdd: not comparable with published figures, because {reason}" in found.notes
    assert "not_comparable" not in sets["folder"]
    (data / "red_cloth").rename(data / "wood")
    with pytest.raises(UserError, match=r"data\.train and data\.test\.1 are both the data set mvtec"):
        loaded(train=[{**of("wood"), "use": "mvtec"}], test=public)
