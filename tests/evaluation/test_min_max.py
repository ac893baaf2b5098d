from __future__ import annotations

import numpy as np
import pytest

from aaclip_kit.evaluation.published_scores import MinMaxScores

from ..helpers import assert_close

MAPS = np.random.default_rng(0).normal(size=(6, 5, 5)).astype(np.float32)
DETECTION = np.array([0.4, 0.1, 0.2, 0.9, 0.5, 0.3], np.float32)


@pytest.mark.parametrize("size", [1, 4, 6])
def test_the_scores_are_of_the_whole_set_whatever_the_batches(size: int) -> None:
    industrial, medical = MinMaxScores("industrial"), MinMaxScores("medical")
    for start in range(0, 6, size):
        for found in (industrial, medical):
            found.add(MAPS[start : start + size], DETECTION[start : start + size])
    peaks = ((MAPS - MAPS.min()) / (MAPS.max() - MAPS.min())).max(axis=(1, 2))
    assert_close(medical.image_scores(), peaks)
    assert_close(industrial.image_scores(), 0.5 * peaks + 0.5 * (DETECTION - np.float32(0.1)) / np.float32(0.8))


def test_one_image_has_no_spread_of_its_own() -> None:
    found = MinMaxScores("industrial")
    found.add(MAPS[:1], DETECTION[:1])
    assert found.image_scores().tolist() == [0.5]
    flat = MinMaxScores("medical")
    flat.add(np.zeros((2, 5, 5), np.float32), DETECTION[:2])
    assert flat.image_scores().tolist() == [0.0, 0.0]
