from __future__ import annotations

import numpy as np
import pytest

from aaclip_kit.evaluation.histogram import lowest_values, ordered_keys

SORTED = np.array(
    [
        -np.inf,
        -3e38,
        -1.5,
        -1e-38,
        -1e-45,
        0.0,
        1e-45,
        1e-38,
        0.5,
        np.nextafter(np.float32(1), np.float32(0)),
        1,
        3e38,
        np.inf,
    ],
    np.float32,
)


def test_keys_are_in_the_order_of_the_values() -> None:
    keys = ordered_keys(SORTED)
    assert (keys[1:] > keys[:-1]).all()
    values = np.random.default_rng(0).integers(0, 2**32, 10_000, dtype=np.uint32).view(np.float32)
    values = values[~np.isnan(values)]
    assert np.array_equal(np.sort(values), values[np.argsort(ordered_keys(values), kind="stable")])


def test_both_zeros_are_one() -> None:
    assert len(set(ordered_keys(np.array([0.0, -0.0], np.float32)).tolist())) == 1


def test_the_values_come_back_from_their_keys() -> None:
    assert np.array_equal(lowest_values(ordered_keys(SORTED), 0), SORTED)


@pytest.mark.parametrize("shift", [1, 7, 16, 24, 31])
def test_a_bin_begins_at_its_lowest_value(shift: int) -> None:
    keys = ordered_keys(SORTED) >> np.uint32(shift)
    edges = lowest_values(keys, shift)
    assert (edges <= SORTED).all()
    assert (lowest_values(keys + np.uint32(1), shift)[:-1] > SORTED[:-1]).all()


def test_the_values_are_not_changed_in_their_place() -> None:
    values = SORTED.copy()
    ordered_keys(values)
    assert np.array_equal(values, SORTED)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        ordered_keys(np.array([0.1, np.nan, 0.3], np.float32))
