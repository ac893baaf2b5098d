"""Pictures of predictions: where the heatmaps' colours end."""

from __future__ import annotations

import numpy as np
import pytest

from aaclip_kit.inference.draw_predictions import AT_THRESHOLD, heat_scale
from aaclip_kit.record.heatmap import coloured


def map_of(differences: list[float], levels: int) -> np.ndarray:
    """The anomaly map of patches whose cosines to abnormal and normal differ by these, on every level."""
    return (levels * (100 * np.array(differences, np.float32)[None] + 1) / 2).astype(np.float32)


@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("above", [None, 0.03])
def test_a_tenth_in_the_cosines_is_the_colours_with_what_is_below_the_threshold_dark(
    levels: int, above: float | None
) -> None:
    """Half of what they are without a threshold, where they end as far on both sides of what is alike to both."""
    threshold = None if above is None else float(map_of([above], levels)[0, 0])
    low, high = (-0.1, 0.1) if above is None else (above - 0.1 * AT_THRESHOLD, above + 0.1 * (1 - AT_THRESHOLD))
    places = [low - 0.2, low, low + 0.003, above or 0.0, high - 0.003, high + 1e-6, high + 0.2]
    scale = heat_scale(threshold, (levels * (0.5 - 5.0), levels * (0.5 + 5.0)))
    found = coloured(map_of(places, levels), scale)[0].tolist()
    at = 0.5 if above is None else AT_THRESHOLD
    darkest, there, brightest = coloured(np.array([[0.0, at, 1.0]]), (0.0, 1.0))[0].tolist()
    assert found[0] == found[1] == darkest != found[2]
    assert np.abs(np.array(found[3]) - there).max() <= 6
    assert found[4] != brightest == found[5] == found[6]
