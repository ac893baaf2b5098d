"""What `aakit predict` shows and writes for people: the worst first, how certain, regions, what is looked at."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaclip_kit.checkpoints.provenance import read_metadata
from aaclip_kit.cli import predicted

from ..command import Command
from .conftest import assert_plain, contents


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (folder := tmp_path / "photos").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def test_the_worst_are_printed_first_and_the_rest_counted(
    aakit: Command, place: Path, trained: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicted, "MOST_ROWS", 3)
    ran = aakit("predict", trained, photos, "--out", place / "out")
    worst = sorted(lines_of(place / "out"), key=lambda line: -line["score"])
    shown = [row for row in ran.out.splitlines() if row.endswith(".png")]
    assert [row.split()[-1] for row in shown] == [line["path"] for line in worst[:3]]
    for row, line in zip(shown, worst, strict=False):
        assert row.split()[:3] == [f"{line['score']:.4g}", line["decision"], f"{line['good_above']:.1%}"]
    assert f"1 more score lower; {place / 'out' / 'scores.csv'} has them all\n" in ran.out
    assert ran.out.endswith(f"look at {place / 'out' / 'index.html'}\n")


def test_the_certainty_is_the_share_of_good_images_of_the_calibration(
    aakit: Command, place: Path, trained: Path, photos: Path
) -> None:
    calibration = read_metadata(trained / "checkpoints" / "loop_2.safetensors").calibration
    assert calibration is not None and calibration.normal_scores is not None
    good = calibration.normal_scores
    assert len(good) == calibration.counts["normal"] and good == sorted(good)
    ran = aakit("predict", trained, photos, "--out", place / "out")
    assert f"certainty   beside each score: the share of {len(good)} good images that score as high" in ran.out
    for line in lines_of(place / "out"):
        assert line["good_above"] == sum(score >= line["score"] for score in good) / len(good)
    ran = aakit("predict", trained, photos, "--out", place / "none", "--uncalibrated")
    assert "certainty   not known: the model has no scores of good images" in ran.out
    assert {line["good_above"] for line in lines_of(place / "none")} == {None}


def test_numbers_have_four_digits_in_both_files(aakit: Command, place: Path, trained: Path, photos: Path) -> None:
    assert aakit("predict", trained, photos, "--out", place / "out").code == 0
    with (place / "out" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, line in zip(rows, lines_of(place / "out"), strict=True):
        assert row["path"] == line["path"] and row["decision"] == line["decision"]
        for key in ("score", "largest_map_value", "threshold", "map_threshold"):
            assert float(row[key]) == line[key] == float(f"{line[key]:.4g}")


def test_regions_are_those_of_the_mask_in_pixels_of_the_photograph(
    aakit: Command, place: Path, trained: Path, photos: Path
) -> None:
    assert aakit("predict", trained, photos, "--out", place / "first").code == 0
    level = sorted(line["largest_map_value"] for line in lines_of(place / "first"))[0] - 0.01
    for least, name in ((1, "all"), (40, "large")):
        options = ["--map-threshold", level, "--least-area", least]
        assert aakit("predict", trained, photos, "--out", place / name, *options).code == 0
        for line in lines_of(place / name):
            mask = np.asarray(Image.open(place / name / line["mask"])) > 0
            assert line["region_count"] == len(line["regions"])
            assert sum(region["area"] for region in line["regions"]) == mask.sum()
            assert all(region["area"] >= least for region in line["regions"])
            for region in line["regions"]:
                left, top, width, height = region["box"]
                assert mask[top : top + height, left : left + width].sum() >= region["area"]
    assert sum(line["region_count"] for line in lines_of(place / "all")) > 0


def test_only_what_is_white_in_the_roi_and_not_in_ignore_is_looked_at(
    aakit: Command, place: Path, trained: Path, photos: Path
) -> None:
    roi, ignore = np.zeros((24, 32), np.uint8), np.zeros((24, 32), np.uint8)
    roi[:, :16], ignore[:12] = 255, 255
    Image.fromarray(roi).save(place / "roi.png")
    Image.fromarray(ignore).save(place / "ignore.png")
    masks = ["--roi", place / "roi.png", "--ignore", place / "ignore.png"]
    ran = aakit("predict", trained, photos, "--out", place / "out", "--map-threshold", -1e9, *masks)
    assert ran.code == 0, ran.err
    assert "looked at   25.0% of each image; half of an image's score is of the whole image\n" in ran.out
    for line in lines_of(place / "out"):
        assert [(region["box"], region["area"]) for region in line["regions"]] == [([0, 12, 16, 12], 192)]
    sheet = (place / "out" / "index.html").read_text()
    assert f"25.0% of each image ({place / 'roi.png'} and {place / 'ignore.png'})" in sheet and "skipped" not in sheet
    Image.fromarray(roi[:20]).save(place / "small.png")
    (place / "small").mkdir()
    before = contents(place)
    ran = aakit("predict", trained, photos, "--out", place / "small" / "out", "--roi", place / "small.png")
    assert_plain(ran)
    assert f"0.png: is 32 x 24 pixels, and {place / 'small.png'} 32 x 20; 3 more images cannot be used\n" in ran.err
    assert contents(place) == before
