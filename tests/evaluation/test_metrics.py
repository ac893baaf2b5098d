from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from aaclip_kit.evaluation.metrics import METRICS, auroc, average_precision, class_metrics, mean_metrics

from ..helpers import assert_close


def scores_and_labels(seed: int, levels: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.random(n) < 0.2
    scores = np.round(generator.random(n) * levels + labels * levels / 4) / levels
    return scores.astype(np.float32), labels


@pytest.mark.parametrize("levels", [1, 3, 20, 10**6])
@pytest.mark.parametrize("seed", [0, 1])
def test_both_metrics_equal_scikit_learn_with_few_and_many_ties(seed: int, levels: int) -> None:
    scores, labels = scores_and_labels(seed, levels)
    assert_close(auroc(scores, labels), roc_auc_score(labels, scores), rtol=1e-12, atol=1e-12)
    assert_close(average_precision(scores, labels), average_precision_score(labels, scores), rtol=1e-12, atol=1e-12)


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    scores, labels = scores_and_labels(2, 5, n=60)
    pairs = [(p > q) + 0.5 * (p == q) for p in scores[labels] for q in scores[~labels]]
    assert auroc(scores, labels) == sum(pairs) / len(pairs)


def test_all_scores_equal_give_one_half_and_the_share_of_positives() -> None:
    labels = np.array([1, 0, 0, 0])
    scores = np.zeros(4, np.float32)
    assert auroc(scores, labels) == 0.5
    assert average_precision(scores, labels) == 0.25


def test_infinite_scores_are_ranked() -> None:
    assert auroc(np.array([-np.inf, 0.0, np.inf]), np.array([0, 0, 1])) == 1.0


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_one_label_is_undefined(labels: list[int]) -> None:
    scores = np.linspace(0, 1, len(labels), dtype=np.float32)
    assert auroc(scores, np.array(labels, int)) is None
    assert average_precision(scores, np.array(labels, int)) is None


@pytest.mark.parametrize("metric", [auroc, average_precision])
def test_not_a_number_is_refused(metric) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="NaN"):
        metric(np.array([0.1, np.nan, 0.3], np.float32), np.array([0, 1, 0]))


def images(n: int = 6, side: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    labels = np.arange(n) % 2
    masks = (generator.random((n, side, side)) < 0.3) & (labels[:, None, None] == 1)
    maps = (generator.random((n, side, side)) + 0.5 * masks).astype(np.float32)
    return maps, masks, maps.mean(axis=(1, 2)), labels


def test_class_metrics_rank_all_pixels_together() -> None:
    maps, masks, scores, labels = images()
    values = class_metrics(maps, masks, scores, labels, True)
    assert tuple(values) == METRICS
    assert_close(values["pixel_auroc"], roc_auc_score(masks.ravel(), maps.ravel()), rtol=1e-12, atol=0)
    assert_close(values["pixel_ap"], average_precision_score(masks.ravel(), maps.ravel()), rtol=1e-12, atol=0)
    assert_close(values["image_auroc"], roc_auc_score(labels, scores), rtol=1e-12, atol=0)
    assert_close(values["image_ap"], average_precision_score(labels, scores), rtol=1e-12, atol=0)


def test_class_metrics_of_images_of_different_sizes() -> None:
    maps, masks, scores, labels = images()
    some_maps, some_masks = [*maps[:-1], maps[-1][:5, :3]], [*masks[:-1], masks[-1][:5, :3]]
    expected = roc_auc_score(
        np.concatenate([mask.ravel() for mask in some_masks]), np.concatenate([part.ravel() for part in some_maps])
    )
    assert_close(class_metrics(some_maps, some_masks, scores, labels)["pixel_auroc"], expected, rtol=1e-12, atol=0)


def test_a_mask_of_another_size_is_refused() -> None:
    maps, masks, scores, labels = images()
    with pytest.raises(ValueError, match="image 0: mask"):
        class_metrics(maps, masks[:, :4], scores, labels)


def test_without_masks_the_pixel_metrics_are_undefined() -> None:
    maps, masks, scores, labels = images()
    for values in (class_metrics(maps, None, scores, labels), class_metrics(maps, masks, scores, labels, False)):
        assert values["pixel_auroc"] is None
        assert values["pixel_ap"] is None
        assert values["image_auroc"] is not None


def test_one_label_is_undefined_or_zero_as_published() -> None:
    maps, masks, scores, labels = images()
    abnormal = labels == 1
    data = maps[abnormal], masks[abnormal], scores[abnormal], labels[abnormal]
    corrected, published = class_metrics(*data), class_metrics(*data, undefined_as_zero=True)
    assert (corrected["image_auroc"], corrected["image_ap"]) == (None, None)
    assert (published["image_auroc"], published["image_ap"]) == (0.0, 0.0)
    assert corrected["pixel_auroc"] == published["pixel_auroc"] is not None


def test_the_mean_leaves_undefined_classes_out() -> None:
    mean = mean_metrics(
        {
            "tile": {"pixel_auroc": 0.5, "pixel_ap": None, "image_auroc": 0.25, "image_ap": 0.0},
            "wood": {"pixel_auroc": 1.0, "pixel_ap": None, "image_auroc": None, "image_ap": 1.0},
        }
    )
    assert mean == {"pixel_auroc": 0.75, "pixel_ap": None, "image_auroc": 0.25, "image_ap": 0.5}
