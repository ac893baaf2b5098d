"""Photographs that are scored in tiles: one tile is the plain prediction, several are those of their crops."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aaclip_kit import DataSet, Sample, TrainedModel, UserError, UserErrors, load_model
from aaclip_kit.checkpoints.find_checkpoint import find_trained
from aaclip_kit.checkpoints.stored_thresholds import Thresholds
from aaclip_kit.data.decoded import read_picture
from aaclip_kit.data.manifests import Listed
from aaclip_kit.inference import tiled
from aaclip_kit.inference.full_size_map import BlendedMap
from aaclip_kit.inference.looked_at import LookedAt
from aaclip_kit.inference.score_images import Scoring, Tally, in_blocks
from aaclip_kit.inference.tile_grid import grid_for
from aaclip_kit.inference.tiled import Tiled
from aaclip_kit.plugin_host.discovery import discover

from ..helpers import assert_close


@pytest.fixture(scope="module")
def model(trained: Path) -> TrainedModel:
    return load_model(trained, device="cpu")


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def saved(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


def same(one: Any, other: Any) -> bool:
    facts = [(found.pred_score, found.max_value) for found in (one, other)]
    return facts[0] == facts[1] and np.array_equal(one.anomaly_map, other.anomaly_map)


def test_one_tile_is_the_plain_prediction(model: TrainedModel, tmp_path: Path) -> None:
    side = model.evaluator.pixels.size
    square, small = pixels(90, 90), pixels(side - 8, side + 4)
    for form in (square, saved(tmp_path / "a.png", square)):
        assert same(model.predict(form, tiles=1), model.predict(form))
    assert same(model.predict(small, tiles="auto"), model.predict(small)), "it is smaller than a tile"


@pytest.mark.parametrize("choice", ["map", "detection", "mean"])
def test_tiles_are_scored_as_their_crops_are_and_blended(trained: Path, tmp_path: Path, choice: str) -> None:
    chosen = [f"evaluation.image_score={choice}", "device=cpu"]
    model = TrainedModel(find_trained(trained, discover(), overrides=chosen))
    detection = TrainedModel(find_trained(trained, discover(), overrides=["evaluation.image_score=detection"]))
    values = pixels(70, 90)
    path, grid = saved(tmp_path / "a.png", values), grid_for((90, 70), 2, model.evaluator.pixels.size)
    found, naive = model.predict(path, tiles=2), np.zeros((70, 90))
    scores = []
    for place, (left, top, right, bottom) in enumerate(grid.boxes):
        crop = values[top:bottom, left:right]
        naive[top:bottom, left:right] += grid.share(place) * model.predict(crop).anomaly_map
        scores.append(detection.predict(crop).pred_score)
    assert grid.count > 4 and found.path == path
    assert_close(found.anomaly_map, naive.astype(np.float32), atol=1e-5)
    assert found.max_value == found.anomaly_map.max()
    probability = float(model.model.head.map_probability(torch.tensor([found.max_value])))
    expected = {"map": found.max_value, "detection": max(scores), "mean": (max(scores) + probability) / 2}
    assert found.pred_score == pytest.approx(expected[choice], abs=1e-5)


def test_neither_order_nor_batches_nor_forms_nor_processes_change_a_score(
    model: TrainedModel, trained: Path, tmp_path: Path
) -> None:
    images = [pixels(60 + 7 * seed, 80, seed) for seed in range(3)]
    files = [saved(tmp_path / f"{number}.png", image) for number, image in enumerate(images)]
    alone = [model.predict(image, tiles=2) for image in images]
    small = TrainedModel(find_trained(trained, discover(), overrides=["evaluation.batch_size=2", "device=cpu"]))
    forms = {
        "files": list(model.predict_all(files, tiles=2)),
        "backwards": list(model.predict_all(images[::-1], tiles=2))[::-1],
        "small batches": list(small.predict_all(files, tiles=2)),
        "one block": blocks(model, files, tiles=2),
        "processes": blocks(TrainedModel(find_trained(trained, discover(), overrides=["workers=2"])), files, tiles=2),
    }
    for form, found in forms.items():
        for one, expected in zip(found, alone, strict=True):
            assert one.pred_score == pytest.approx(expected.pred_score, abs=1e-5), form
            assert_close(one.anomaly_map, expected.anomaly_map, atol=1e-5)
    assert len({one.pred_score for one in alone}) == 3


def blocks(model: TrainedModel, files: list[Path], **options: Any) -> list[Any]:
    scoring, tally = Scoring(thresholds=Thresholds(), **options), Tally()
    listed = [Listed(file) for file in files]
    (block,) = in_blocks(model, listed, scoring, tally, skip=False, before_each=lambda: None)
    return list(block.predictions)


def test_a_spot_on_a_border_of_tiles_is_seen_where_it_is() -> None:
    """A head that says how bright a pixel is: blended, the spot has its own place, shape and value."""
    side, size = 40, (160, 110)
    grid = grid_for(size, 3, side)
    picture = np.zeros((110, 160), np.float32)
    left, top = grid.columns[1], grid.rows[1]
    picture[top - 3 : top + 5, left - 4 : left + 6] = 1
    blend = BlendedMap(grid)
    for x, y, right, bottom in grid.boxes:
        blend.add(picture[y:bottom, x:right], 0.0)
    assert_close(blend.values, picture)


def test_scores_are_of_what_is_looked_at(model: TrainedModel, tmp_path: Path) -> None:
    path, roi = saved(tmp_path / "a.png", pixels(60, 120)), np.zeros((60, 120), bool)
    roi[20:40, 80:83] = True
    (part,) = blocks(model, [path], tiles=2, looked_at=LookedAt(roi))
    (whole,) = blocks(model, [path], tiles=2)
    assert np.array_equal(part.anomaly_map, whole.anomaly_map)
    assert part.max_value == whole.anomaly_map[roi].max() < whole.max_value
    assert part.pred_score < whole.pred_score


def test_a_strip_is_cut_into_squares_and_what_is_too_narrow_is_told_of(model: TrainedModel, tmp_path: Path) -> None:
    strip = model.predict(pixels(9, 200), tiles="auto")
    assert strip.anomaly_map.shape == (9, 200) and np.isfinite(strip.anomaly_map).all()
    for form in (pixels(50, 1), saved(tmp_path / "line.png", pixels(50, 1))):
        with pytest.raises(UserErrors, match="is 1 x 50 pixels"):
            model.predict(form, tiles="auto")
    long = pixels(8, 100_000)
    for form in (long, saved(tmp_path / "long.png", long)):
        with pytest.raises(UserErrors, match="would be cut into 16,667 tiles"):
            model.predict(form, tiles=1)
    with pytest.raises(UserError, match="0 is no number of tiles"):
        model.predict_all([long], tiles=0)


def test_stored_thresholds_are_for_images_cut_as_theirs_were(trained: Path, tmp_path: Path) -> None:
    model, image = load_model(trained, device="cpu"), pixels(60, 90)
    assert model.predict(image).decision is not None
    assert (model.predict(image, tiles=2).decision, model.predict(image, tiles=2).mask) == (None, None)
    assert model.predict(image, tiles=2).good_above is None
    calibration = model.trained.metadata.calibration
    assert calibration is not None
    metadata = replace(model.trained.metadata, calibration=replace(calibration, tiles=2))
    model.trained = replace(model.trained, metadata=metadata)
    assert model.predict(image, tiles=2).decision is not None
    assert model.predict(image).decision is model.predict(image, tiles="auto").decision is None


def test_tiles_are_read_as_they_are_scored_and_a_photograph_is_opened_once(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TrainedModel(find_trained(trained, discover(), overrides=["evaluation.batch_size=2", "device=cpu"]))
    files, read, opened = (
        [saved(tmp_path / name, pixels(60, 60)) for name in ("a.png", "b.png")],
        list[str](),
        list[Path](),
    )
    own = Tiled.read

    def counted(tiled: Tiled, sample: Sample, size: int) -> Any:
        read.append(sample.image.name)
        return own(tiled, sample, size)

    def opening(sample: Sample) -> Image.Image:
        opened.append(sample.image)
        return read_picture(sample)

    monkeypatch.setattr(Tiled, "read", counted)
    monkeypatch.setattr(tiled, "read_picture", opening)
    listed, scoring = [Listed(file) for file in files], Scoring(thresholds=Thresholds(), tiles=3)
    (block,) = in_blocks(model, listed, scoring, Tally(), skip=False, before_each=lambda: None)
    assert next(block.predictions).path == files[0]
    assert 9 <= len(read) <= 9 + 2, "those of the second photograph are not read ahead"
    assert [one.path for one in block.predictions] == files[1:]
    assert len(read) == 18 and opened == files


def test_what_reads_tiles_travels_to_other_processes(tmp_path: Path) -> None:
    path, data = saved(tmp_path / "a.png", pixels(60, 90)), DataSet((), {"a": "a"})
    own = Tiled(2, 32)
    cut = own.cut(replace(data, samples=(Sample(path, "a", 0),)), [(90, 60)])
    other = pickle.loads(pickle.dumps(own))
    assert [sample.image.name for sample in cut.samples][:2] == ["a.png, tile 1 of 8", "a.png, tile 2 of 8"]
    for sample in cut.samples:
        assert np.array_equal(own.read(sample, 32)[0], other.read(sample, 32)[0])
