"""`[[data.ROLE]]`: several data sets in one role, checked, overridden and copied as one table is."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.data.join import labels
from aaclip_kit.experiment import Experiment, load, resolved_toml
from aaclip_kit.experiment.effects import check_overrides
from aaclip_kit.experiment.overrides import read
from aaclip_kit.experiment.resolved import by_key, is_place
from aaclip_kit.plugin_host.registry import Registry

Load = Callable[..., Experiment]
Faults = Callable[..., list[UserError]]

SECOND = """
[[data.test]]
use = "synthetic"
split = "test"
on_bad_image = "skip"
"""


@pytest.fixture
def two(file: Path) -> Path:
    """The file with two test sets."""
    file.write_text(file.read_text().replace("[data.test]", "[[data.test]]") + SECOND)
    return file


def chosen(experiment: Experiment, role: str = "test") -> list[str]:
    return [one.component.name for one in experiment.data[role]]


@pytest.mark.usefixtures("two")
def test_each_table_is_a_data_set_of_its_own(checked: Load) -> None:
    experiment = checked()
    assert (chosen(experiment), chosen(experiment, "train")) == (["folder", "synthetic"], ["folder"])
    assert [one.selection.on_bad_image for one in experiment.data["test"]] == ["error", "skip"]
    assert {"data-set:folder", "data-set:synthetic"} <= experiment.plugins.keys()


@pytest.mark.parametrize("role", ["train", "validation", "calibration"])
def test_every_role_may_have_several(checked: Load, role: str) -> None:
    tables = f'data.{role}=[{{use="folder", root="a"}}, {{use="folder", root="b"}}, {{use="synthetic", split="test"}}]'
    assert chosen(checked(tables), role) == ["folder", "folder", "synthetic"]


@pytest.mark.usefixtures("two")
def test_faults_of_all_tables_are_named_with_their_numbers(faults: Faults) -> None:
    found = faults("data.test.0.clases=[a]", "data.test.1.split=tests", "data.test.1.shots=4")
    assert {str(fault.where).partition(": ")[2] for fault in found} == {
        "data.test.0.clases", "data.test.1.split", "data.test.1.shots",
    }  # fmt: skip
    assert "did you mean 'classes'?" in str(found[0].fix)
    (fault,) = faults("data.test.1.use=syntetic")
    assert str(fault.where).endswith(": data.test.1.use")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[]", "the array is empty: it names no data set (given: [])"),
        ("[3]", "input should be a table, or an array of tables (given: [3])"),
        ("3", "input should be a table, or an array of tables (given: 3)"),
    ],
)
@pytest.mark.parametrize("role", ["train", "calibration"])
def test_what_is_no_data_set_is_one_plain_fault(faults: Faults, role: str, value: str, said: str) -> None:
    (fault,) = faults(f"data.{role}={value}")
    assert (str(fault.where).partition(": ")[2], fault.problem) == (f"data.{role}", said)
    assert fault.fix


def test_an_override_changes_one_table(two: Path, checked: Load) -> None:
    tables = read(two, ["data.test.1.split=validation", "data.test.0.root=2024-05-01"])["data"]["test"]
    assert (tables[1]["split"], tables[0]["classes"]) == ("validation", ["green_wood"])
    options = checked("data.test.0.root=2024-05-01").data["test"][0].options
    assert options.root == Path("2024-05-01")  # type: ignore[attr-defined]
    assert read(two, ['data.test.1={use="folder", root="x"}'])["data"]["test"][1] == {"use": "folder", "root": "x"}


def test_a_new_use_discards_the_options_of_that_table_alone(two: Path) -> None:
    first, second = read(two, ["data.test.1.use=folder", "data.test.1.root=here"])["data"]["test"]
    assert second == {"use": "folder", "root": "here", "on_bad_image": "skip"}
    assert first["classes"] == ["green_wood"]


def test_a_use_for_the_role_puts_one_table_in_the_place_of_several(two: Path) -> None:
    assert read(two, ["data.test.root=here", "data.test.use=folder"])["data"]["test"] == {
        "use": "folder",
        "root": "here",
    }


@pytest.mark.parametrize("key", ["data.test.root", "data.test.2.root", "data.test.-1.root"])
def test_an_override_that_names_no_table_says_which_there_are(two: Path, key: str) -> None:
    with pytest.raises(UserError, match=r"data\.test is an array of 2 tables") as caught:
        read(two, [f"{key}=folder"])
    assert caught.value.fix == "name one of them, data.test.0 to data.test.1, or set data.test itself"


def test_a_key_of_one_table_acts_on_what_the_role_acts_on() -> None:
    check_overrides(["data.test.1.root=x"], "metrics")
    with pytest.raises(UserError, match=r"data\.train\.0\.root has no effect"):
        check_overrides(["data.train.0.root=x"], "metrics")


@pytest.mark.usefixtures("two")
def test_the_resolved_copy_has_a_table_for_one_and_an_array_for_several(
    checked: Load, registry: Registry, tmp_path: Path
) -> None:
    experiment = checked("data.test.0.label=photographs")
    copy = tmp_path / "copy.toml"
    copy.write_text(resolved_toml(experiment))
    tables = tomllib.loads(copy.read_text())["data"]
    assert tables["train"]["use"] == "folder"
    assert [table["use"] for table in tables["test"]] == ["folder", "synthetic"]
    assert [table.get("label") for table in tables["test"]] == ["photographs", None]
    again = load(copy, registry)
    assert resolved_toml(again) == resolved_toml(experiment)
    assert [one.selection for one in again.data["test"]] == [one.selection for one in experiment.data["test"]]


def test_an_array_of_one_is_a_table_in_the_copy(file: Path, checked: Load) -> None:
    before = resolved_toml(checked())
    file.write_text(file.read_text().replace("[data.test]", "[[data.test]]"))
    assert resolved_toml(checked()) == before


@pytest.mark.usefixtures("two")
def test_paths_of_every_table_are_known_by_their_keys(checked: Load) -> None:
    places = [key for key, value in by_key(tomllib.loads(resolved_toml(checked()))["data"]).items() if is_place(value)]
    assert {"train.root", "test.0.root"} <= set(places)


@pytest.mark.usefixtures("two")
def test_labels_are_what_use_says_unless_they_are_given_and_never_alike(checked: Load) -> None:
    assert labels(checked().data["test"]) == ["folder", "synthetic"]
    assert labels(checked("data.test.1.label=drawn").data["test"]) == ["folder", "drawn"]
    three = 'data.test=[{use="folder", root="a", label="folder 2"}, {use="folder", root="b"}, {use="folder", root="c"}]'
    assert labels(checked(three).data["test"]) == ["folder 2", "folder", "folder 3"]
