"""`aakit shots`: its curves beside runs with the same references, what it leaves and goes on with, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit.studies import few_shots

from ..build import run_file
from ..command import Command, Ran
from ..conftest import EXPERIMENT, write_class
from ..helpers import assert_close
from .conftest import assert_plain, contents

pytestmark = pytest.mark.usefixtures("undrawn")

UNTRAINED = ("scheduler.use=none", "evaluation.heatmaps=0", "calibration.held_out=0", "device=cpu")
ONE_LOOP = ("scheduler.text_epochs=[1]", "scheduler.image_epochs=[1]", "scheduler.rate_factors=[1.0]")
NAME = "green_wood"


def with_set(*overrides: str) -> list[str]:
    return [part for one in overrides for part in ("--set", one)]


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other images of the test class, in the layout of public data sets: train/good."""
    root = tmp_path_factory.mktemp("normal")
    write_class(root, NAME, 1, seed=21)
    (root / NAME / "test").rename(root / NAME / "train")
    shutil.rmtree(root / NAME / "train" / "spot")
    return root


def write_file(folder: Path, tiny_clip: Path, defects: Path, normal: Path) -> Path:
    tables = f'[reference]\nuse = "patch_memory"\n[data.reference]\nuse = "folder"\npart = "train"\nroot = "{normal}"\n'
    path = folder / "small.toml"
    path.write_text(EXPERIMENT.format(model=tiny_clip, data=defects) + tables)
    return path


@pytest.fixture
def file(tmp_path: Path, tiny_clip: Path, defects: Path, normal: Path) -> Path:
    return write_file(tmp_path, tiny_clip, defects, normal)


def draw(aakit: Command, path: Path, out: Path, *more: object) -> dict[str, Any]:
    ran = aakit("shots", path, "--out", out, "--json", *more)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == json.loads((out / "shots.json").read_text())
    return dict(json.loads(ran.out))


def test_each_point_is_that_of_a_run_with_these_references(aakit: Command, place: Path, file: Path) -> None:
    record = draw(aakit, file, place / "out", "--k", 0, 1, 3, "--draws", 2, *with_set(*UNTRAINED))
    assert (record["seeds"], record["shots"], record["finished"]) == ([3, 4], [0, 1, 3], True)
    measured = record["measured"][NAME]
    for seed, number in (("3", "1"), ("4", "3")):
        of = (*UNTRAINED, f"seed={seed}", f"data.reference.shots={number}")
        for kind, combine in (("both", "add"), ("memory", "alone")):
            run, _ = run_file(file, place / f"{kind}{number}", *of, f"reference.combine={combine}")
            assert_same(measured["draws"][seed][number][kind], run["before"])
    without = file.read_text().partition("[reference]")[0]
    file.write_text(without)
    run, _ = run_file(file, place / "without", *UNTRAINED)
    assert_same(measured["zero_shot"], run["before"])


def assert_same(found: dict[str, float], result: dict[str, Any]) -> None:
    expected = result["classes"][NAME]
    assert_close([found[name] for name in sorted(found)], [expected[name] for name in sorted(found)], atol=1e-4)


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path, normal: Path
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A finished run whose memory has 2 images, and its metrics."""
    folder = tmp_path_factory.mktemp("remembered")
    file = write_file(folder, tiny_clip, defects, normal)
    cost = (*ONE_LOOP, "evaluation.heatmaps=0", "calibration.held_out=0", "device=cpu", "data.reference.shots=2")
    metrics, _ = run_file(file, folder / "run", *cost)
    yield folder / "run", metrics


def test_a_trained_model_is_scored_as_its_run_was(
    aakit: Command, place: Path, kept: tuple[Path, dict[str, Any]]
) -> None:
    run, metrics = kept
    before = contents(run)
    record = draw(aakit, run, place / "out", "--k", 2, "--draws", 1)
    assert_same(record["measured"][NAME]["draws"]["3"]["2"]["both"], metrics["loops"][0])
    assert record["checkpoint"] == str(run / "checkpoints" / "loop_1.safetensors")
    assert contents(run) == before
    assert record["measured"][NAME]["references"] == 4, "its own shots limit no draw"


def test_a_model_that_was_trained_without_a_memory_gets_one_by_set(
    aakit: Command, place: Path, trained: Path, normal: Path
) -> None:
    images = f'data.reference=[{{use = "folder", part = "train", root = "{normal}"}}]'
    given = with_set("reference.use=patch_memory", images)
    record = draw(aakit, trained, place / "out", "--k", 1, "--draws", 1, *given)
    quoted = json.loads((trained / "metrics.json").read_text())
    assert_same(record["measured"][NAME]["zero_shot"], quoted["loops"][quoted["quoted"]["loop"] - 1])
    ran = refused(aakit, place, trained, "--out", place / "other", *given, "--set", "scheduler.use=none")
    assert "scheduler.use has no effect on a model that is trained already" in ran.err


def test_a_file_that_trains_does_so_once(aakit: Command, place: Path, file: Path) -> None:
    cost = with_set(*ONE_LOOP, "evaluation.heatmaps=0", "calibration.held_out=0", "device=cpu")
    first = draw(aakit, file, place / "out", "--k", 1, "--draws", 1, *cost)
    weights = place / "out" / "model" / "checkpoints" / "loop_1.safetensors"
    stamp = weights.stat().st_mtime_ns
    more = draw(aakit, file, place / "out", "--k", 1, 2, "--draws", 2, *cost)
    assert weights.stat().st_mtime_ns == stamp
    assert more["measured"][NAME]["draws"]["3"]["1"] == first["measured"][NAME]["draws"]["3"]["1"]
    assert all(sorted(more["measured"][NAME]["draws"][seed]) == ["1", "2"] for seed in ("3", "4"))
    assert not (weights.parent / "bank.safetensors").exists()


def test_what_a_killed_one_has_finished_is_taken_up(
    aakit: Command, place: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_shots, "available_memory", lambda device: 0)  # a walk for each draw
    options = ("--k", 1, 2, "--draws", 3, *with_set(*UNTRAINED))
    whole = draw(aakit, file, place / "whole", *options)
    count, walked = few_shots._counted, list[set[int]]()

    def noting(model: Any, name: str, memories: dict[tuple[int, int], Any], advance: Any) -> Any:
        walked.append({seed for seed, _ in memories})
        if walked == [{3}, {4}]:
            raise RuntimeError("killed")
        return count(model, name, memories, advance)

    monkeypatch.setattr(few_shots, "_counted", noting)
    with pytest.raises(RuntimeError, match="killed"):
        aakit("shots", file, "--out", place / "out", *options)
    left = json.loads((place / "out" / "shots.json").read_text())
    assert not left["finished"] and list(left["measured"][NAME]["draws"]) == ["3"]
    assert not (place / "out" / "shots.html").exists()
    assert draw(aakit, file, place / "out", *options)["measured"] == whole["measured"]
    assert walked == [{3}, {4}, {4}, {5}]


def test_the_backbone_walks_over_the_test_images_once(
    aakit: Command, place: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aaclip_kit.model.image_tower import ImageSide

    seen, read = list[int](), ImageSide.read

    def counting(self: Any, images: Any, *more: Any, **named: Any) -> Any:
        seen.append(len(images))
        return read(self, images, *more, **named)

    monkeypatch.setattr(ImageSide, "read", counting)
    draw(aakit, file, place / "out", "--k", 3, "--draws", 4, *with_set(*UNTRAINED))
    banks, head, walk = 4 * 3, 4, 2 * 8  # of the plain stream for the memory, and of the other for this head
    assert sum(seen) == banks + head + walk


def test_tables_page_and_csv_show_the_same_numbers(aakit: Command, place: Path, file: Path) -> None:
    ran = aakit("shots", file, "--out", place / "out", "--k", 0, 2, 9, "--draws", 3, *with_set(*UNTRAINED))
    assert ran.code == 0, ran.err
    names = {path.name for path in (place / "out").iterdir()}
    assert names == {"shots.json", "shots.csv", "shots.html", "experiment.toml", "run.lock"}
    record = json.loads((place / "out" / "shots.json").read_text())
    spread = record["classes"][NAME]["2"]["both"]["pixel_auroc"]
    shown = f"{spread['mean']:.3f} ± {(spread['high'] - spread['low']) / 2:.3f}"
    assert shown in ran.out and shown in (place / "out" / "shots.html").read_text()
    with (place / "out" / "shots.csv").open() as table:
        lines = list(csv.DictReader(table))
    (line,) = [one for one in lines if (one["images"], one["scores"], one["metric"]) == ("2", "both", "pixel_auroc")]
    assert (float(line["mean"]), line["draws"]) == (spread["mean"], "3")
    left_out = f"{NAME} has 4 references: 9 left out"
    assert left_out in ran.out and left_out in (place / "out" / "shots.html").read_text()
    assert "Student's 95 % interval" in ran.out


def refused(aakit: Command, place: Path, *arguments: object) -> Ran:
    before = contents(place)
    ran = aakit("shots", *arguments)
    assert_plain(ran)
    assert contents(place) == before
    return ran


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--k", "-1", "2"), "--k: -1 is no number of images"),
        (("--k", "1", "2", "1"), "--k: names 1 twice"),
        (("--k", "1,2,1"), "--k: names 1 twice"),
        (("--k", "0"), "--k: names no number above 0"),
        (("--k", "two"), "--k: 'two' is no list of numbers"),
        (("--draws", "0"), "--draws: 0 is too few"),
        (("--draws", "1000000000"), "--draws: 1,000,000,000 is too many"),
        (("--k", "7", "8"), "--k: asks for 7 images, and no class has more than 4 references"),
        (("--experiment", "other.toml"), "--experiment: is for a trained model"),
        (with_set('data.test.classes=["red_cloth"]', "data.allow_overlap=true"), "holds no image of test class"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    aakit: Command, place: Path, file: Path, arguments: tuple[str, ...], problem: str
) -> None:
    ran = refused(aakit, place, file, "--out", place / "out", *arguments, *with_set(*UNTRAINED))
    assert problem in ran.err


def test_a_file_without_a_memory_is_refused(aakit: Command, place: Path, small_experiment: Path) -> None:
    ran = refused(aakit, place, small_experiment, "--out", place / "out")
    assert "reference: has no memory whose curve could be drawn" in ran.err and "[data.reference]" in ran.err


def test_a_folder_of_something_else_is_left_alone(aakit: Command, place: Path, file: Path) -> None:
    (place / "out").mkdir()
    (place / "out" / "diary.txt").write_text("mine")
    assert "holds something else: diary.txt" in refused(aakit, place, file, "--out", place / "out").err


def test_curves_of_another_experiment_are_not_gone_on_with(aakit: Command, place: Path, file: Path) -> None:
    options = ("--out", place / "out", "--k", 1, "--draws", 1, *with_set(*UNTRAINED))
    assert aakit("shots", file, *options).code == 0
    ran = refused(aakit, place, file, *options, "--set", "reference.coreset=0.5")
    assert "holds curves of another experiment: reference.coreset" in ran.err
