"""How hard the drawings are for rules that know nothing."""

import numpy as np
import pytest
from aaclip_kit_plugins.synthetic import TEST_SURFACES

from tools.pretraining.difficulty import auroc, difficulty, sample


def test_auroc_counts_ties_half() -> None:
    scores, labels = np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, True, False, True])
    assert auroc(scores, labels) == pytest.approx(0.875)
    assert np.isnan(auroc(scores, np.ones(4, bool)))


def test_rules_that_know_nothing_do_not_solve_the_drawings() -> None:
    assert [d.defect is None for d in sample("wood", 4)] == [True, False, True, False]
    for pixel, image in difficulty(TEST_SURFACES[:3], count=20).values():
        assert pixel < 0.8 and image < 0.85
