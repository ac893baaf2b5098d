"""A trained model from Python: three lines, and the same scores as the evaluation's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aaclip_kit import DataSet, Prediction, Sample, TrainedModel, UserError, UserErrors, load_model
from aaclip_kit.checkpoints.find_checkpoint import find_trained
from aaclip_kit.data import decoded, scan
from aaclip_kit.data.decode import open_picture
from aaclip_kit.data.decoded import Decoded
from aaclip_kit.inference.draw_predictions import facts_of
from aaclip_kit.inference.full_size_map import stretched
from aaclip_kit.plugin_host.discovery import discover

from ..helpers import assert_close


@pytest.fixture
def model(trained: Path) -> TrainedModel:
    return load_model(trained, device="cpu")


def test_three_lines(trained: Path, defects: Path) -> None:
    code = (
        "from aaclip_kit import load_model\n"
        f"model = load_model({str(trained)!r})\n"
        f"result = model.predict({str(defects / 'green_wood/test/spot/000.png')!r})\n"
        "print(result.pred_score, result.threshold, result.decision, *result.anomaly_map.shape, *result.mask.shape)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    score, threshold, decision, *shape = ran.stdout.split()
    calibration = json.loads((trained / "calibration.json").read_text())
    assert float(threshold) == calibration["image_threshold"]
    assert decision == ("anomalous" if float(score) >= float(threshold) else "normal")
    assert shape == ["40", "40", "40", "40"]


def test_it_scores_as_the_evaluation_does(model: TrainedModel, trained: Path, defects: Path) -> None:
    """Of the run's test images, in batches there and one by one here."""
    experiment = find_trained(trained, discover()).experiment
    chosen = experiment.data["test"][0]
    data = chosen.component.build(chosen.options)
    full = TrainedModel(find_trained(trained, discover()))
    batches = list(full.evaluator_for(data).scored_batches(data, "green_wood", full.attending, trained=True))
    expected = np.concatenate([batch.image_scores for batch in batches])
    maps = np.concatenate([batch.maps for batch in batches])
    found = [model.predict(sample.image, "green wood") for sample in data.samples]
    assert_close([one.pred_score for one in found], expected.tolist())
    assert_close([one.max_value for one in found], maps.max(axis=(1, 2)).tolist())
    assert_close(np.stack([one.anomaly_map for one in found]), np.stack([stretched(one, (40, 40)) for one in maps]))
    together = list(model.predict_all([sample.image for sample in data.samples], "green wood"))
    assert_close([one.pred_score for one in together], expected.tolist())


def test_a_map_at_the_images_own_size_by_the_naive_formula() -> None:
    values = np.random.default_rng(3).normal(size=(5, 5)).astype(np.float32)
    width, height = 7, 12
    found = stretched(values, (width, height))
    assert found.shape == (height, width)
    for row, column in ((0, 0), (3, 2), (11, 6), (7, 5)):
        y = min(max((row + 0.5) * 5 / height - 0.5, 0), 4)
        x = min(max((column + 0.5) * 5 / width - 0.5, 0), 4)
        top, left = min(int(y), 3), min(int(x), 3)
        corner = values[top : top + 2, left : left + 2].astype(float)
        rows, columns = np.array([1 - (y - top), y - top]), np.array([1 - (x - left), x - left])
        assert found[row, column] == pytest.approx(rows @ corner @ columns, abs=1e-5)


def test_decisions_and_masks_need_thresholds() -> None:
    values = np.array([[0.0, 1.0]], np.float32)
    bare = Prediction(
        path=Path("a.png"), pred_score=0.5, threshold=None, max_value=1.0, anomaly_map=values, map_threshold=None
    )
    assert bare.decision is None and bare.mask is None
    at = Prediction(
        path=Path("a.png"), pred_score=0.5, threshold=0.5, max_value=1.0, anomaly_map=values, map_threshold=1.0
    )
    assert at.decision == "anomalous" and at.mask is not None and at.mask.tolist() == [[False, True]]
    below = Prediction(
        path=Path("a.png"), pred_score=0.4999, threshold=0.5, max_value=1.0, anomaly_map=values, map_threshold=1.5
    )
    assert below.decision == "normal" and below.mask is not None and not below.mask.any()


def test_a_peak_that_reaches_the_threshold_before_the_map_is_enlarged_has_its_pixel_in_the_mask() -> None:
    made: dict[str, Any] = {
        "path": Path("a.png"), "pred_score": 1.0, "threshold": 1.0, "map_threshold": 1.0,
        "anomaly_map": np.array([[0.7, 0.1, 0.9]], np.float32),
    }  # fmt: skip
    reached, below = Prediction(**made, max_value=1.0), Prediction(**made, max_value=0.99)
    assert reached.mask is not None and reached.mask.tolist() == [[False, False, True]]
    assert below.mask is not None and not below.mask.any()
    part = Prediction(**made, max_value=1.0, looked_at=np.array([[True, True, False]]))
    assert part.mask is not None and part.mask.tolist() == [[True, False, False]]
    small = Prediction(**made, max_value=1.0, least_area=2)
    assert facts_of(reached)["disagreement"] is None
    assert "are chosen apart" in facts_of(below)["disagreement"]
    assert "fewer pixels than the least area" in facts_of(small)["disagreement"]


def test_an_image_turned_by_exif_has_a_map_as_it_is_seen(model: TrainedModel, tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 50, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert model.predict(tmp_path / "turned.jpg").anomaly_map.shape == (50, 20)


def test_bad_images_are_refused_before_any_is_scored(model: TrainedModel, tmp_path: Path, defects: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    good = defects / "green_wood" / "test" / "good" / "000.png"
    with pytest.raises(UserErrors) as caught:
        model.predict_all([good, tmp_path / "dot.png", tmp_path / "none.png"])
    assert [fault.problem.split(",")[0] for fault in caught.value.faults] == [
        "is 1 x 1 pixels",
        "there is no such file",
    ]


def test_reading_ends_where_what_is_called_before_each_image_says_so(model: TrainedModel, defects: Path) -> None:
    samples = tuple(Sample(path, "a", 0) for path in sorted(defects.rglob("good/*.png")) * 10)
    called = list[int]()

    def enough() -> None:
        called.append(1)
        if len(called) > 2:
            # Threads that only raise could be through before the caller's thread has a turn to end them.
            time.sleep(0.1)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        model.scan(DataSet(samples, {"a": "a"}), Decoded(once=True), each_page=True, before_each=enough)
    assert len(called) < len(samples)


def test_loading_leaves_the_callers_random_state_and_takes_no_gradient(trained: Path) -> None:
    before = torch.random.get_rng_state()
    model = load_model(trained, device="cpu")
    assert torch.equal(before, torch.random.get_rng_state())
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert not model.model.training


def test_uses_of_one_model_do_not_disturb_one_another(model: TrainedModel, trained: Path, defects: Path) -> None:
    """Each has prompts of its own, also while another is half way through its images."""
    chosen = find_trained(trained, discover(), overrides=["evaluation.batch_size=1"]).experiment.data["test"][0]
    data = chosen.component.build(chosen.options)
    images = [sample.image for sample in data.samples[:3]]
    expected = [found.pred_score for found in model.predict_all(images, "green wood")]
    metrics = model.metrics(data)
    under_way = model.predict_all(images, "green wood")
    scores = [next(under_way).pred_score]
    other = model.predict(images[0], "blue felt").pred_score
    scores += [found.pred_score for found in under_way]
    assert scores == expected
    assert model.predict(images[0], "blue felt").pred_score == other != expected[0]
    assert model.metrics(data) == metrics


def test_the_domain_sets_the_blur_and_keeps_thresholds_of_another(model: TrainedModel, defects: Path) -> None:
    image = defects / "green_wood" / "test" / "spot" / "000.png"
    own, medical = model.predict(image), model.predict(image, domain="medical")
    assert own.threshold is not None and own.decision and own.map_threshold is not None
    assert medical.max_value != own.max_value
    assert (medical.threshold, medical.map_threshold) == (None, None)
    assert model.predict(image, domain="industrial").threshold == own.threshold
    with pytest.raises(UserError, match="'x-ray' is no domain"):
        model.predict(image, domain="x-ray")


def test_no_random_state_of_a_gpu_is_asked_for(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[object]()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", asked.append)
    assert str(load_model(trained, device="cpu").compute_device.device) == "cpu"
    assert asked == []


def test_a_path_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run and no checkpoint"):
        load_model(tmp_path)


def test_each_image_is_decoded_once(trained: Path, defects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, opened = load_model(trained), list[Path]()

    def counted(path: Path, content: bytes | None = None) -> Image.Image:
        opened.append(path)
        return open_picture(path, content)

    monkeypatch.setattr(decoded, "open_picture", counted)
    monkeypatch.setattr(scan, "open_picture", counted)
    images = sorted((defects / "green_wood" / "test" / "good").iterdir())
    assert len(list(model.predict_all(images))) == len(images) == len(opened)
