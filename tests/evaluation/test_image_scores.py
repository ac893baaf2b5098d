from __future__ import annotations

import numpy as np
import pytest

from aaclip_kit.contracts.data import Sample
from aaclip_kit.distributed.ranks import ALONE
from aaclip_kit.evaluation.evaluator import ScoredBatch
from aaclip_kit.evaluation.image_scores import ImageScoreComparison
from aaclip_kit.report.results_section import red_lines

from ..parts import TinyHead


def batch(labels: list[int], detection: list[float], peaks: list[float]) -> ScoredBatch:
    count = len(labels)
    empty, scores = np.zeros((count, 2, 2), np.float32), [np.array(values, np.float32) for values in (detection, peaks)]
    samples = tuple(Sample(None, "a", label) for label in labels)  # type: ignore[arg-type]
    return ScoredBatch(
        samples=samples, masks=empty > 0, grid=empty, maps=empty, detection=scores[0], peaks=scores[1],
        image_scores=scores[0],
    )  # fmt: skip


def test_each_choice_has_the_mean_auroc_of_the_classes() -> None:
    compared = ImageScoreComparison(TinyHead())
    compared.on_batch("a", batch([0, 1], [0.1, 0.9], [0.0, 0.0]))
    compared.on_batch("b", batch([0, 0, 1], [0.9, 0.8, 0.1], [0.1, 0.2, 0.3]))
    compared.on_batch("one label", batch([0], [0.5], [0.5]))
    assert compared.result(ALONE) == {
        "detection": pytest.approx(0.5, abs=1e-3),
        "map": pytest.approx(0.75, abs=1e-3),
        "mean": pytest.approx(0.5, abs=1e-3),
    }


def test_nothing_seen_is_no_figure() -> None:
    assert ImageScoreComparison(TinyHead()).result(ALONE) == {"detection": None, "map": None, "mean": None}


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ({"used": "detection", "detection": 0.6, "map": 0.9, "mean": 0.8}, True),
        ({"used": "map", "detection": 0.6, "map": 0.9, "mean": 0.905}, False),
        ({"used": "map", "detection": None, "map": None, "mean": None}, False),
        ({}, False),
    ],
)
def test_a_score_that_tells_less_than_another_on_validation_is_a_red_line(
    scores: dict[str, object], told: bool
) -> None:
    lines = red_lines({"image_scores": scores}, None)
    assert bool(lines) == told
    if told:
        assert '"map" 0.900: set evaluation.image_score = "map"' in lines[0]
