"""What `predict` and `predict_all` take: paths, arrays, tensors, PIL images; any number of them, from any thread."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aaclip_kit import TrainedModel, UserError, UserErrors, load_model
from aaclip_kit.inference.given_images import as_picture, check_several


@pytest.fixture(scope="module")
def model(trained: Path) -> TrainedModel:
    return load_model(trained, device="cpu")


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)


def test_the_same_picture_has_the_same_score_in_every_form(model: TrainedModel, tmp_path: Path) -> None:
    values = pixels()
    Image.fromarray(values).save(path := tmp_path / "a.png")
    tensor = torch.from_numpy(values.transpose(2, 0, 1).copy())
    forms: list[Any] = [
        path,
        str(path),
        values,
        Image.fromarray(values),
        tensor,
        tensor.float() / 255,
        (tensor.float() / 255).requires_grad_(),
        values.astype(float) / 255,
    ]
    expected = model.predict(path)
    for form in forms:
        found = model.predict(form)
        assert (found.pred_score, found.max_value) == (expected.pred_score, expected.max_value)
        assert found.anomaly_map.shape == (30, 40)
    together = list(model.predict_all(forms))
    assert [str(found.path) for found in together] == [
        *map(str, forms[:2]), *(f"image {number}" for number in range(3, 9)),
    ]  # fmt: skip
    rounded = tensor.bfloat16() / 256
    assert model.predict(rounded).pred_score == model.predict(rounded.float()).pred_score
    assert [found.pred_score for found in together] == pytest.approx([expected.pred_score] * 8, abs=1e-5)


def test_grey_pictures_are_taken_as_files_of_them_are(model: TrainedModel, tmp_path: Path) -> None:
    grey = pixels()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = model.predict(tmp_path / "grey.png").pred_score
    wide = (grey.astype(np.uint16) << 8) + 7
    forms: list[Any] = [grey, grey[..., None], torch.from_numpy(grey)[None], *map(Image.fromarray, (grey, wide))]
    Image.fromarray(wide).save(tmp_path / "wide.pgm")
    for form in (*forms, Image.open(tmp_path / "wide.pgm")):
        assert model.predict(form).pred_score == expected


def test_a_photograph_that_was_opened_is_turned_upright(model: TrainedModel, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels()).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as picture:
        assert model.predict(picture).anomaly_map.shape == (40, 30)


REFUSED: dict[str, tuple[Any, str]] = {
    "normalised": (torch.randn(3, 30, 40), "image 1: holds float32 from -"),
    "whole numbers as floats": (pixels().astype(np.float32), "image 1: holds float32 from 0 to 254"),
    "16 bits": (pixels().astype(np.uint16), "image 1: holds uint16 from"),
    "not a number": (np.full((30, 40), np.nan), "image 1: holds float64 from nan to nan"),
    "channels first": (pixels().transpose(2, 0, 1), r"image 1: is an array of shape \[3, 30, 40\]"),
    "a batch": (torch.zeros(1, 3, 30, 40), r"image 1: is a tensor of shape \[1, 3, 30, 40\]"),
    "32 bits": (
        Image.fromarray(pixels()[..., 0].astype(np.int32)),
        "image 1: cannot be read as an image: its pixels are",
    ),
    "tiny": (np.zeros((4, 40), np.uint8), "image 1: is 40 x 4 pixels"),
}


@pytest.mark.parametrize(("image", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_picture_is_told_of(model: TrainedModel, image: Any, message: str) -> None:
    with pytest.raises(UserErrors, match=message):
        model.predict(image)


@pytest.mark.parametrize("one", ["a.png", pixels(), torch.zeros(3, 30, 40)])
def test_predict_all_refuses_one_image(model: TrainedModel, one: Any) -> None:
    with pytest.raises(UserError, match="is one image, and predict_all takes several"):
        model.predict_all(one)


def test_what_has_no_type_that_is_taken_is_told_of() -> None:
    for one in (Path("a.png"), Image.new("RGB", (9, 9))):
        with pytest.raises(UserError, match="is one image, and predict_all takes several"):
            check_several(one)
    with pytest.raises(UserError, match="is no image, but of type int"):
        as_picture(7, "image 1")


def test_no_image_gives_no_prediction(model: TrainedModel) -> None:
    assert list(model.predict_all([])) == []


def test_images_are_taken_as_they_are_wanted(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainedModel, "block_size", 2)
    taken = list[int]()

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(len(taken))
            yield pixels(len(taken))

    found = model.predict_all(endless())
    for number in range(5):
        assert str(next(found).path) == f"image {number + 1}"
    assert len(taken) <= 8


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainedModel, "block_size", 4)
    values = pixels()

    def peak(count: int) -> int:
        gc.collect()
        gc.freeze()  # what ran in this process before has no part in it, and circles are collected after each image
        tracemalloc.start()
        for number, found in enumerate(model.predict_all(values for _ in range(count)), start=1):
            assert found.path.name == f"image {number}"
            gc.collect()
        assert number == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        gc.unfreeze()
        return most

    peak(4)
    assert peak(48) < 1.2 * peak(12) + 100_000


def test_threads_may_use_one_model(model: TrainedModel) -> None:
    jobs = [(seed, name) for seed in range(6) for name in ("green wood", "blue felt")]
    alone = [model.predict(pixels(seed), name).pred_score for seed, name in jobs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: model.predict(pixels(job[0]), job[1]).pred_score, jobs * 3))
    assert found == alone * 3
    assert len(set(alone)) == len(alone)
