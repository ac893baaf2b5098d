"""Against scikit-learn on every kind of number; thresholds by counting; parts, states and few bins."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any, cast

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score, roc_curve

from aaclip_kit.evaluation.auroc import auroc, average_precision, roc
from aaclip_kit.evaluation.f1_max import f1_max, f1_max_threshold, rates_at, threshold_at_fpr
from aaclip_kit.evaluation.histogram import ROUNDING, Histogram

from ..helpers import assert_close

LABELS = np.random.default_rng(1).random(3000) < 0.2
NORMAL = np.random.default_rng(0).normal(size=3000) + 1.2 * LABELS
SCORES = {
    "plain": NORMAL,
    "few levels": np.round(2 * NORMAL) / 2,
    "constant": np.full(3000, 0.7),
    "tiny": 1e-30 * NORMAL,
    "subnormal": 1e-41 * NORMAL,
    "huge": 5e37 * NORMAL,
    "all magnitudes": NORMAL**9 * 10.0 ** np.tile([-20, 0, 20], 1000),
    "negative": -np.exp(NORMAL),
    "far from zero": 1000 + NORMAL / 100,
    "both zeros": np.where(NORMAL > 1, 1.0, np.copysign(0.0, NORMAL)),
}


def histogram(scores: np.ndarray, labels: np.ndarray, capacity: int = 2**19, parts: int = 1) -> Histogram:
    found = Histogram(capacity)
    for some, of in zip(np.array_split(scores, parts), np.array_split(labels, parts), strict=True):
        found.add(some, of)
    return found


def exact(scores: np.ndarray, labels: np.ndarray) -> list[float]:
    """AUROC, AP and F1-max by scikit-learn, whose own checks overflow where float32 sums do."""
    scores = scores.astype(np.float64)
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return [float(roc_auc_score(labels, scores)), float(average_precision_score(labels, scores)), float(f1.max())]


def measured(found: Histogram) -> list[float | None]:
    return [auroc(found), average_precision(found), f1_max(found)]


@pytest.mark.parametrize("kind", SCORES)
def test_metrics_are_scikit_learns_as_long_as_each_score_has_a_bin(kind: str) -> None:
    scores = SCORES[kind].astype(np.float32)
    found = histogram(scores, LABELS, parts=3)
    assert_close(measured(found), exact(scores, LABELS), rtol=1e-12, atol=1e-12)
    assert found.state()["shift"] == 0


@pytest.mark.parametrize("kind", SCORES)
def test_a_threshold_says_what_it_is_said_to(kind: str) -> None:
    scores = SCORES[kind].astype(np.float32).astype(np.float64)
    for capacity in (2**19, 500):
        found = histogram(scores, LABELS, capacity)
        best = f1_max_threshold(found)
        assert best is not None
        assert_close(f1_score(LABELS, scores >= best), f1_max(found), rtol=1e-12, atol=0)
        for rate in (0.001, 0.05, 0.5, 1.0):
            threshold = threshold_at_fpr(found, rate)
            assert threshold is not None
            assert (scores[~LABELS] >= threshold).mean() <= rate
            if capacity > len(scores):
                lower = scores[scores < threshold]
                assert not lower.size or (scores[~LABELS] >= lower.max()).mean() > rate, "a lower one would do"


def test_of_thresholds_that_reach_the_largest_f1_the_highest_is_taken() -> None:
    """At 4 one of two is found and nothing else, at 1 both and two others: 2/3 either way, and less between."""
    scores, labels = np.array([4, 3, 2, 1], np.float32), np.array([True, False, False, True])
    assert_close([f1_score(labels, scores >= at) for at in (4, 3, 2, 1)], [2 / 3, 1 / 2, 2 / 5, 2 / 3])
    assert f1_max_threshold(histogram(scores, labels)) == 3.5


def test_a_threshold_is_no_score_so_that_a_score_made_again_stays_on_its_side() -> None:
    """Half-way to the next lower score, whatever its label; float32 has no number between the last two."""
    close = np.nextafter(np.float32(0.5), np.float32(1))
    scores, labels = np.array([0.25, 0.5, close, 0.75], np.float32), np.array([False, False, True, True])
    found = histogram(scores, labels)
    middle = (0.5 + float(close)) / 2
    assert 0.5 < middle < close and f1_max_threshold(found) == middle and rates_at(found, middle) == (0.0, 1.0)
    assert threshold_at_fpr(found, 0.5) == 0.375
    assert threshold_at_fpr(histogram(scores, ~labels), 0.1) == pytest.approx(0.75 + ROUNDING, abs=1e-12), "above all"
    assert threshold_at_fpr(found, 1.0) == pytest.approx(0.25 - ROUNDING, abs=1e-12), "below all"
    coarse = histogram(scores, labels, capacity=2)
    best = f1_max_threshold(coarse)
    assert best is not None and [score >= best for score in scores.tolist()] == [False, True, True, True]


def test_scores_at_infinity_are_ranked() -> None:
    found = histogram(np.array([-np.inf, 0.0, np.inf], np.float32), np.array([False, False, True]))
    assert auroc(found) == 1.0
    assert f1_max_threshold(found) == np.inf


@pytest.mark.parametrize("seed", [0, 1])
def test_many_scores_in_few_bins_differ_by_less_than_1e4(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.random(300_000) < 0.03
    scores = (3 * generator.normal(size=300_000) + 4 * labels).astype(np.float32)
    found = histogram(scores, labels, capacity=2**16, parts=7)
    assert found.state()["shift"] > 0
    assert_close(measured(found), exact(scores, labels), rtol=0, atol=1e-4)


@pytest.mark.parametrize("capacity", [16, 200, 2000])
def test_auroc_is_off_by_half_the_pairs_within_a_bin_at_most(capacity: int) -> None:
    scores = SCORES["plain"].astype(np.float32)
    found = histogram(scores, LABELS, capacity)
    negatives, positives, _ = found.state()["sums"]
    bound = float(np.dot(negatives, positives)) / (2 * negatives.sum() * positives.sum())
    assert len(found.state()["keys"]) <= capacity
    area = auroc(found)
    assert area is not None and abs(area - exact(scores, LABELS)[0]) <= bound < 10 / capacity


@pytest.mark.parametrize("capacity", [64, 1000, 2**19])
def test_parts_in_any_order_make_the_whole(capacity: int) -> None:
    scores, weights = SCORES["all magnitudes"].astype(np.float32), np.full(3000, 0.25)
    whole = Histogram(capacity)
    whole.add(scores, LABELS, weights[LABELS])
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(3000)
        parts = []
        for some in np.array_split(order, 5):
            parts.append(Histogram(capacity))
            parts[-1].add(scores[some], LABELS[some], weights[some][LABELS[some]])
        while len(parts) > 1:
            parts[0].merge(parts.pop())
        assert_equal(parts[0], whole)


def assert_equal(found: Histogram, expected: Histogram) -> None:
    for name, array in expected.state().items():
        assert np.array_equal(found.state()[name], array), name


def test_metrics_that_were_asked_for_before_are_of_all_scores() -> None:
    scores, halves = SCORES["plain"].astype(np.float32), (slice(2000), slice(2000, None))
    added, merged = Histogram(), Histogram()
    for half in halves:
        added.add(scores[half], LABELS[half])
        merged.merge(histogram(scores[half], LABELS[half], 2**19))
        assert (auroc(added), f1_max(added)) == (auroc(merged), f1_max(merged))
    whole = histogram(scores, LABELS, 2**19)
    assert auroc(added) == auroc(whole) == auroc(merged)


def test_merging_leaves_the_other_as_it_is() -> None:
    scores = SCORES["plain"].astype(np.float32)
    found, other = histogram(scores[:2000], LABELS[:2000], 100), histogram(scores[2000:], LABELS[2000:], 100)
    before = {name: array.copy() for name, array in other.state().items()}
    found.merge(other)
    found.merge(Histogram(100))
    found.add(scores, LABELS)
    assert all(np.array_equal(array, before[name]) for name, array in other.state().items())
    assert found.negatives + found.positives == 6000
    empty = Histogram(100)
    empty.merge(other)
    assert_equal(empty, other)


def test_a_state_can_be_saved_and_gone_on_with() -> None:
    scores = SCORES["plain"].astype(np.float32)
    found = histogram(scores[:2000], LABELS[:2000], 100)
    file = io.BytesIO()
    np.savez(file, **cast(dict[str, Any], found.state()))
    file.seek(0)
    read = Histogram.from_state(np.load(file))
    assert_equal(read, found)
    read.add(scores[2000:], LABELS[2000:])
    assert_equal(read, histogram(scores, LABELS, 100))


def test_weights_count_in_the_weighted_curve_only() -> None:
    scores = np.array([4, 3, 2, 1, 0], np.float32)
    found = Histogram()
    found.add(scores, np.array([True, False, True, False, False]), np.array([0.75, 0.25]))
    plain, weighted = roc(found), roc(found, weighted=True)
    assert plain is not None and weighted is not None
    assert plain.hits.tolist() == [0, 0.5, 0.5, 1, 1, 1]
    assert weighted.hits.tolist() == [0, 0.75, 0.75, 1, 1, 1]
    assert plain.fpr.tolist() == [0, 0, 1 / 3, 1 / 3, 2 / 3, 1]


def test_the_curve_passes_through_scikit_learns() -> None:
    scores = SCORES["few levels"].astype(np.float32)
    fpr, tpr, _ = roc_curve(LABELS, scores, drop_intermediate=False)
    found = roc(histogram(scores, LABELS))
    assert found is not None
    assert_close(np.stack(found), np.stack([fpr, tpr]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("labels", [[False, False], [True, True], []])
def test_one_label_is_undefined(labels: list[bool]) -> None:
    found = histogram(np.arange(len(labels), dtype=np.float32), np.array(labels, bool))
    assert [*measured(found), f1_max_threshold(found), roc(found)] == [None] * 5
    assert (threshold_at_fpr(found, 0.5) is None) == (False not in labels)


def test_not_a_number_is_refused_and_nothing_is_counted() -> None:
    found = histogram(np.array([1.0, 2.0], np.float32), np.array([True, False]))
    with pytest.raises(ValueError, match="NaN"):
        found.add(np.array([0.1, np.nan], np.float32), np.array([False, True]))
    assert (found.negatives, found.positives) == (1, 1)


def test_memory_does_not_grow_with_the_number_of_scores() -> None:
    generator = np.random.default_rng(0)
    found = Histogram(2**12)
    sizes = []
    tracemalloc.start()
    for _ in range(2):
        for _ in range(100):
            scores = generator.normal(size=5000).astype(np.float32)
            found.add(scores, scores > 1)
        found.state()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] < 1.1 * sizes[0] + 2**12
    assert sum(array.nbytes for array in found.state().values()) <= 28 * 2**12 + 16


def test_rates_at_a_threshold() -> None:
    histogram = Histogram()
    histogram.add(np.array([0.1, 0.2, 0.3, 0.4], np.float32), np.array([False, False, True, True]))
    assert rates_at(histogram, float(np.float32(0.2))) == (0.5, 0.8)
    assert rates_at(histogram, 1.0) == (0.0, 0.0)
    lone = Histogram()
    lone.add(np.array([0.1], np.float32), np.array([False]))
    assert rates_at(lone, 0.0) == (1.0, None)
