"""A run on several data sets in one role: what it writes, what it shows, and what its checkpoint says."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from aaclip_kit.checkpoints.provenance import read_metadata
from aaclip_kit.evaluation.class_metrics import METRICS, mean_metrics
from aaclip_kit.experiment.toml_file import read_toml

from ..build import run_file
from ..command import Command
from ..conftest import write_class
from ..helpers import assert_close

pytestmark = pytest.mark.usefixtures("undrawn")

ONE = {"text_epochs": [1], "image_epochs": [1], "rate_factors": [1.0]}


@pytest.fixture
def several(small_experiment: Path, tmp_path: Path, defects: Path) -> Path:
    """The small experiment, one loop long: two published data sets to train on, a folder and a list to test on."""
    for number, name in enumerate(("tubes", "screw", "blue_felt")):
        write_class(tmp_path / "more", name, channel=number, seed=7 + number)
    own, more = {"use": "folder", "root": str(defects)}, {"use": "folder", "root": str(tmp_path / "more")}
    tables = read_toml(small_experiment)
    tables["scheduler"] |= ONE
    tables["data"] = {
        "train": [{**more, "use": "mpdd", "classes": ["tubes"]}, {**more, "use": "mvtec", "classes": ["screw"]}],
        "test": [{**own, "classes": ["red_cloth", "green_wood"]}, {**more, "classes": ["blue_felt"], "label": "felt"}],
    }
    small_experiment.write_text(tomli_w.dumps(tables))
    return small_experiment


def assert_apart(record: dict[str, Any]) -> None:
    """Each data set has the mean over its own classes."""
    own = {name: values for name, values in record["classes"].items() if name != "blue_felt"}
    assert record["sets"].keys() == {"folder", "felt"}
    for metric in METRICS:
        assert_close(record["sets"]["folder"][metric], mean_metrics(own)[metric])
        assert_close(record["mean"][metric], mean_metrics(record["classes"])[metric])
    assert record["sets"]["felt"] == record["classes"]["blue_felt"]


def test_results_tell_the_data_sets_apart_everywhere(
    several: Path, tmp_path: Path, aakit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = aakit("run", several, "--out", "run", "--device", "cpu", columns=200)
    assert (ran.code, ran.err) == (0, "")
    assert "test       3 classes of folder and felt, 12 normal and 12 anomalous images" in ran.out
    metrics = json.loads(Path("run/metrics.json").read_text())
    for record in (metrics["before"], *metrics["loops"], *metrics["rules"].values()):
        assert_apart(record)
    assert [line.startswith("mean of f") for line in ran.out.splitlines()].count(True) == 2
    assert "mean of felt" in Path("run/report.html").read_text()

    evaluated = json.loads(aakit("evaluate", "run", "--json").out)
    assert evaluated["sets"] == metrics["loops"][-1]["sets"]
    assert list(evaluated["data"]["sets"]) == ["folder", "felt"]
    said = aakit("evaluate", "run", columns=200).out
    assert [line.split()[:3] for line in said.splitlines() if line.startswith("mean of")] == [
        ["mean", "of", "folder"], ["mean", "of", "felt"],
    ]  # fmt: skip
    one = json.loads(aakit("evaluate", "run", "--json", "--set", f"data.test.0.root={tmp_path / 'more'}", "--set",
                           "data.test.0.classes=[tubes]", "--set", "data.allow_overlap=true").out)  # fmt: skip
    assert list(one["classes"]) == ["tubes", "blue_felt"]
    other = ["--set", "data.test.use=folder", "--set", f"data.test.root={tmp_path / 'more'}", "--set",
             "data.test.classes=[blue_felt]"]  # fmt: skip
    alone = json.loads(aakit("evaluate", "run", "--json", *other).out)
    assert "sets" not in alone
    assert alone["mean"] == metrics["loops"][-1]["sets"]["felt"]


def test_the_resolved_copy_runs_again_to_the_same_result(several: Path, tmp_path: Path) -> None:
    run_file(several, tmp_path / "run", "device=cpu")
    run_file(tmp_path / "run" / "experiment.toml", tmp_path / "again")
    for name in ("metrics.json", "experiment.toml"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_checkpoint_names_every_published_data_set_and_is_held_to_all(
    several: Path, tmp_path: Path, aakit: Command
) -> None:
    run_file(several, tmp_path / "run", "device=cpu")
    checkpoint = tmp_path / "run" / "checkpoints" / "loop_1.safetensors"
    assert read_metadata(checkpoint).about.trained_on == ("mpdd", "mvtec")
    write_class(tmp_path / "new", "screw", channel=1, seed=99)
    new = [*("--set", "data.test.use=mvtec", "--set", f"data.test.root={tmp_path / 'new'}"),
           "--set", "data.test.classes=[screw]"]  # fmt: skip
    ran = aakit("evaluate", tmp_path / "run", *new)
    assert ran.code == 2 and "the model was trained on this data set, mvtec" in ran.err


@pytest.mark.parametrize("name", ["tubes", "screw"])
def test_an_image_of_any_training_table_is_known_among_the_test_images(
    several: Path, tmp_path: Path, aakit: Command, name: str
) -> None:
    """By content, before a run begins and by its checkpoint, whatever the test data is called."""
    write_class(tmp_path / "new", "bolt", channel=1, seed=99)
    shutil.copy(tmp_path / "more" / name / "test/good/000.png", tmp_path / "new/bolt/test/good/leaked.png")
    new = ["data.test.use=folder", f"data.test.root={tmp_path / 'new'}", "data.test.classes=[bolt]"]
    sets = [part for override in new for part in ("--set", override)]
    ran = aakit("run", several, "--out", tmp_path / "leaky", *sets)
    assert ran.code == 2 and "data.train and data.test share 1 images by content" in ran.err
    assert not (tmp_path / "leaky").exists()
    run_file(several, tmp_path / "run", "device=cpu")
    ran = aakit("evaluate", tmp_path / "run", *sets)
    assert ran.code == 2 and "the model was trained on 1 of these images, by content" in ran.err
    assert "leaked.png" in ran.err


def test_a_strangers_checkpoint_has_no_folder_of_any_table_read(several: Path, tmp_path: Path, aakit: Command) -> None:
    run_file(several, tmp_path / "run", "device=cpu")
    checkpoint = (tmp_path / "run" / "checkpoints" / "loop_1.safetensors").rename(tmp_path / "loop_1.safetensors")
    tables = tomllib.loads(several.read_text())
    ran = aakit("evaluate", checkpoint, "--set", f"backbone.model={tables['backbone']['model']}")
    assert ran.code == 2
    roots = [f"data.test.{place}.root = {table['root']}" for place, table in enumerate(tables["data"]["test"])]
    assert f"names files or folders of a machine: {', '.join(roots)}" in ran.err
