"""`aakit validate`: several files, every fault of each, nothing built."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..command import Command
from .conftest import assert_plain, contents

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))


def test_there_are_experiments() -> None:
    assert len(EXPERIMENTS) >= 7


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_of_the_repository_is_valid(aakit: Command, place: Path, file: Path) -> None:
    ran = aakit("validate", file)
    assert (ran.code, ran.out, ran.err) == (0, f"{file}: valid\n", "")


def test_good_files_are_named_and_faults_of_all_others_shown(
    aakit: Command, place: Path, small_experiment: Path
) -> None:
    text = small_experiment.read_text()
    names = {
        "unknown.toml": text.replace("seed = 3", "sed = 3\nworkers = -1"),
        "broken.toml": "name = ",
        "component.toml": text.replace('"feedback"', '"feedbak"'),
    }
    for name, content in names.items():
        (place / name).write_text(content)
    before = contents(place)
    ran = aakit("validate", *names, small_experiment, "missing.toml")
    assert_plain(ran, messages=5)
    assert ran.out == f"{small_experiment}: valid\n"
    for said in (
        "unknown.toml: sed: unknown key",
        "unknown.toml: workers: input should be greater than or equal to 0",
        "broken.toml: is not TOML",
        "component.toml: scheduler.use: there is no scheduler called 'feedbak'",
        "missing.toml: there is no such file",
    ):
        assert said in ran.err
    assert contents(place) == before


def test_overrides_hold_for_every_file(aakit: Command, place: Path, small_experiment: Path) -> None:
    good = aakit("validate", small_experiment, "--set", "scheduler.use=v2", "--set", "scheduler.loops=2")
    assert good.code == 0, good.err
    bad = aakit("validate", small_experiment, small_experiment, "--set", "scheduler.use=v2", "--set", "scheduler.x=2")
    assert_plain(bad, messages=2)


def test_no_data_are_read_and_no_model_is_built(aakit: Command, place: Path, small_experiment: Path) -> None:
    overrides = ["data.train.root=nowhere", "backbone.model=no/model", "stages.text_to_image.heads=3"]
    ran = aakit("validate", small_experiment, *(word for one in overrides for word in ("--set", one)))
    assert ran.code == 0
    assert contents(place) == {}


def test_a_file_is_needed(aakit: Command) -> None:
    ran = aakit("validate")
    assert ran.code == 2
    assert "Missing argument 'files" in ran.err.replace("FILES", "files")
