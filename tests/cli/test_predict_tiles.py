"""`aakit predict --tiles`: thresholds that are withheld, chosen for tiles, given; and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import load_model
from aaclip_kit.checkpoints.provenance import read_metadata

from ..command import Command
from .conftest import assert_plain, contents


def photographs(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(count):
        image = random.integers(60, 120, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photographs(tmp_path / "photos", 2, seed=1)


def test_thresholds_of_whole_images_are_not_for_tiles(aakit: Command, place: Path, trained: Path, photos: Path) -> None:
    tiled = ["predict", trained, photos, "--out", place / "out", "--tiles", 2]
    ran = aakit(*tiled)
    assert_plain(ran)
    assert "chosen on images as a whole, and these are scored in tiles (2)" in ran.err
    assert "aakit calibrate --tiles 2 chooses thresholds for tiles" in ran.err and not (place / "out").exists()
    ran = aakit(*tiled, "--threshold", 0.5)
    assert (ran.code, ran.err) == (0, "")
    assert "tiles       squares, 2 along the shorter side; they overlap by a quarter" in ran.out
    lines = [json.loads(line) for line in (place / "out" / "scores.jsonl").read_text().splitlines()]
    assert all(line["decision"] and line["map_threshold"] is line["good_above"] is None for line in lines)
    with Image.open(place / "out" / lines[0]["heatmap"]) as heat:
        assert heat.size == (80, 60)
    assert json.loads((place / "out" / "settings.json").read_text())["tiles"] == 2
    ran = aakit(*tiled[:-1], 3, "--threshold", 0.5, "--append")
    assert_plain(ran)
    assert "its results were made in another way: tiles was 2, and is 3" in ran.err
    assert aakit(*tiled, "--threshold", 0.5, "--append").code == 0


def test_thresholds_that_were_chosen_in_tiles_are_for_the_same_ones(
    aakit: Command, place: Path, run: Path, photos: Path, tmp_path: Path
) -> None:
    good = photographs(tmp_path / "good", 5, seed=2)
    ran = aakit("calibrate", run, good, "--tiles", "2", "--false-alarms", 0.3)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads((run / "calibration.json").read_text())["tiles"] == 2
    ran = aakit("predict", run, photos, "--out", place / "out", "--tiles", 2)
    assert (ran.code, ran.err) == (0, "") and "in tiles (2)" in ran.out
    line = json.loads((place / "out" / "scores.jsonl").read_text().splitlines()[0])
    assert None not in (line["decision"], line["map_threshold"], line["good_above"])
    for other in ("off", "auto"):
        ran = aakit("predict", run, photos, "--out", place / "other", "--tiles", other)
        assert_plain(ran)
        assert "chosen on images in tiles (2), and these are scored" in ran.err
    assert aakit("predict", run, photos, "--out", place / "other", "--tiles", "auto", "--uncalibrated").code == 0


def test_a_memory_of_whole_photographs_takes_no_tiles(
    aakit: Command, place: Path, photos: Path, tmp_path: Path
) -> None:
    good = photographs(tmp_path / "good", 4, seed=3)
    assert aakit("teach", good, "--out", place / "line.model").code == 0
    before = contents(place)
    for command in (("predict", photos, "--out", place / "out"), ("calibrate", photos)):
        ran = aakit(command[0], place / "line.model", *command[1:], "--tiles", "auto")
        assert_plain(ran)
        assert "remembers images as a whole, and what is seen in tiles (auto) is not like them" in ran.err
        assert contents(place) == before


@pytest.mark.slow
def test_a_model_that_is_taught_in_tiles_sees_everything_in_them(
    aakit: Command, place: Path, photos: Path, tmp_path: Path
) -> None:
    """Each photograph is scored as by a model of the others; the defect lies in one tile of an unseen one."""
    good = photographs(tmp_path / "good", 5, seed=3)
    bad = np.array(Image.open(photos / "0.png"))
    bad[4:12, 4:12] = 250
    Image.fromarray(bad).save(photos / "0.png")
    ran = aakit("teach", good, "--out", place / "line.model", "--tiles", 2, "--real-name", "tile")
    assert (ran.code, ran.err) == (0, "") and "tiles       30 squares, compared with one another" in ran.out
    metadata = read_metadata(place / "line.model" / "model.safetensors")
    assert metadata.about.reference_tiles == 2 and metadata.calibration is not None
    known = metadata.calibration.normal_scores
    ran = aakit("predict", place / "line.model", photos, "--out", place / "out")
    assert (ran.code, ran.err) == (0, "") and "in tiles (2))" in ran.out
    lines = [json.loads(line) for line in (place / "out" / "scores.jsonl").read_text().splitlines()]
    assert {Path(line["path"]).name: line["decision"] for line in lines}["0.png"] == "anomalous"
    assert load_model(place / "line.model").predict(photos / "0.png").pred_score == pytest.approx(
        max(line["score"] for line in lines), rel=1e-3
    )
    ran = aakit("predict", place / "line.model", photos, "--out", place / "off", "--tiles", "off")
    assert_plain(ran)
    assert "remembers images in tiles (2), and what is seen as a whole is not like them" in ran.err
    (last := sorted(good.iterdir())[-1]).rename(tmp_path / "last.png")
    assert aakit("teach", good, "--out", place / "four.model", "--tiles", 2, "--real-name", "tile").code == 0
    score = load_model(place / "four.model").predict(tmp_path / "last.png").pred_score
    assert known is not None and min(abs(score - one) for one in known) < 1e-4 and not last.exists()


def test_a_photograph_of_too_many_tiles_is_a_bad_image(
    aakit: Command, place: Path, trained: Path, photos: Path
) -> None:
    Image.new("RGB", (100_000, 8)).save(photos / "strip.png")
    options = ["--out", place / "out", "--tiles", "2", "--threshold", 0.5]
    ran = aakit("predict", trained, photos, *options)
    assert_plain(ran)
    assert "strip.png: is 100000 x 8 pixels, and would be cut into 16,667 tiles" in ran.err
    ran = aakit("predict", trained, photos, *options, "--on-bad-image", "skip")
    assert ran.code == 0 and ", 1 skipped" in ran.out
    ran = aakit("predict", trained, photos, "--out", place / "more", "--tiles", "many")
    assert_plain(ran)
    assert "--tiles: 'many' is no number of tiles" in ran.err
