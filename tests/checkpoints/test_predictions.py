"""Pictures of predictions: where the heatmaps' colours end."""

from __future__ import annotations

import numpy as np
import pytest

from aaclip_kit.inference.predictions import heat_colours
from aaclip_kit.record.heatmap import coloured


def map_of(differences: list[float], levels: int) -> np.ndarray:
    """The anomaly map of patches whose cosines to abnormal and normal differ by these, on every level."""
    return (levels * (100 * np.array(differences, np.float32)[None] + 1) / 2).astype(np.float32)


@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("above", [None, 0.03])
def test_the_colours_end_where_the_cosines_differ_by_a_tenth_more_or_less(levels: int, above: float | None) -> None:
    """Than where both are alike, or than at the threshold, which lies `above` it."""
    middle = above or 0.0
    threshold = None if above is None else float(map_of([above], levels)[0, 0])
    places = [middle + part for part in (-0.3, -0.1, -0.097, 0.0, 0.097, 0.1, 0.3)]
    shown = (levels * (0.5 - 5.0), levels * (0.5 + 5.0))
    found = heat_colours(map_of(places, levels), threshold, shown)[0].tolist()
    darkest, half, brightest = coloured(np.array([[0.0, 0.5, 1.0]]), (0.0, 1.0))[0].tolist()
    assert found[0] == found[1] == darkest != found[2]
    assert np.abs(np.array(found[3]) - half).max() <= 6
    assert found[4] != brightest == found[5] == found[6]
