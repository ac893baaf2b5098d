"""A class's metrics against scikit-learn, and AUPRO against its definition, on drawn and on real maps."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any, cast

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from aaclip_kit.evaluation.aupro import region_weights
from aaclip_kit.evaluation.class_metrics import METRICS, ClassMetrics, with_sets
from aaclip_kit.evaluation.rules import RULES

from ..conftest import SHARED
from ..helpers import assert_close
from .given import real_images

Maps = list[np.ndarray]
PIXEL = {metric for metric in METRICS if metric.startswith("pixel")}
IMAGE = set(METRICS) - PIXEL


def images(n: int = 8, side: int = 24, seed: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Smooth maps, masks of several regions on every other image, image scores and labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    masks = gaussian_filter(generator.normal(size=(n, side, side)), (0, 1.5, 1.5)) > 0.25
    masks &= labels[:, None, None] == 1
    maps = gaussian_filter(generator.normal(size=(n, side, side)) + masks, (0, 1, 1)).astype(np.float32)
    return maps, masks, maps.mean(axis=(1, 2)), labels


def counted(*arrays: np.ndarray, parts: int = 1, capacity: int = 2**19) -> ClassMetrics:
    found = ClassMetrics(capacity=capacity)
    for some in zip(*(np.array_split(array, parts) for array in arrays), strict=True):
        found.update(*some)
    return found


def exact_f1max(scores: np.ndarray, labels: np.ndarray) -> float:
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-300)).max())


def direct_aupro(maps: Maps | np.ndarray, masks: Maps | np.ndarray, limit: float = 0.3) -> float:
    """The definition: for each distinct threshold the overlap with each region, averaged, over the normal pixels' rate.

    A region's overlap is a sorted array's share at or above the threshold; the area is that of the polygon up to the
    limit, where it is cut by a straight line between the two thresholds on either side.
    """
    regions = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        named, count = label(mask, structure=np.ones((3, 3)))
        regions += [np.sort(anomaly_map[named == number]) for number in range(1, count + 1)]
    normal = np.sort(np.concatenate([m[~mask] for m, mask in zip(maps, masks, strict=True)]))
    thresholds = np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]
    overlap = np.zeros(len(thresholds))
    for region in regions:
        overlap += (len(region) - np.searchsorted(region, thresholds)) / len(region) / len(regions)
    fpr = (len(normal) - np.searchsorted(normal, thresholds)) / len(normal)
    fpr, overlap = np.append(0, fpr), np.append(0, overlap)
    after = int(np.flatnonzero(fpr > limit)[0])
    share = (limit - fpr[after - 1]) / (fpr[after] - fpr[after - 1])
    end = overlap[after - 1] + share * (overlap[after] - overlap[after - 1])
    x, y = np.append(fpr[:after], limit), np.append(overlap[:after], end)
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / limit)


@pytest.mark.parametrize("levels", [2, 30, 10**6])
def test_every_metric_equals_its_exact_value(levels: int) -> None:
    maps, masks, scores, labels = images()
    maps = np.round(maps * levels) / np.float32(levels)
    values = counted(maps, masks, scores, labels, parts=3).values()
    assert tuple(values) == METRICS
    expected = {
        "pixel_auroc": roc_auc_score(masks.ravel(), maps.ravel()),
        "pixel_aupro": direct_aupro(maps, masks),
        "pixel_ap": average_precision_score(masks.ravel(), maps.ravel()),
        "pixel_f1max": exact_f1max(maps.ravel(), masks.ravel()),
        "image_auroc": roc_auc_score(labels, scores),
        "image_ap": average_precision_score(labels, scores),
        "image_f1max": exact_f1max(scores, labels),
    }
    for metric, value in expected.items():
        assert_close(values[metric], float(value), rtol=1e-12, atol=1e-12)


def test_regions_touch_at_corners_and_weigh_the_same() -> None:
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = mask[1, 1] = mask[2, 2] = True
    mask[4:, 4:] = True
    assert region_weights(mask).tolist() == [1 / 3] * 3 + [1 / 4] * 4
    maps = np.zeros((1, 6, 6), np.float32)
    maps[0, 4:, 4:] = 1
    found = counted(maps, mask[None], np.ones(1), np.ones(1, int))
    # One region of two is found before any normal pixel; the rest comes with all of them, at one threshold.
    assert_close(found.values()["pixel_aupro"], 0.5 + 0.5 * 0.15)


@pytest.mark.parametrize("capacity", [200, 2**19])
def test_parts_in_any_order_make_the_whole(capacity: int) -> None:
    arrays = images(12)
    whole = counted(*arrays, capacity=capacity)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(12)
        parts = [counted(*(array[some] for array in arrays), capacity=capacity) for some in np.split(order, 4)]
        while len(parts) > 1:
            parts[0].merge(parts.pop())
        assert_same(parts[0], whole)


def assert_same(found: ClassMetrics, expected: ClassMetrics) -> None:
    # Sums of weights depend on their order by rounding; every count is exact.
    assert found.state().keys() == expected.state().keys()
    for name, array in expected.state().items():
        assert_close(found.state()[name].astype(float), array.astype(float), rtol=1e-12, atol=0)
    assert_close(list(found.values().values()), list(expected.values().values()), rtol=1e-12, atol=0)


def test_a_state_can_be_saved_and_gone_on_with() -> None:
    arrays = images()
    first = counted(*(array[:5] for array in arrays))
    first.update(arrays[0][:1], None, np.ones(1), np.ones(1, int))
    file = io.BytesIO()
    np.savez(file, **cast(dict[str, Any], first.state()))
    file.seek(0)
    read = ClassMetrics.from_state(np.load(file))
    assert read.result() == first.result()
    read.update(*(array[5:] for array in arrays))
    first.update(*(array[5:] for array in arrays))
    assert_same_states(read, first)
    assert ClassMetrics.from_state(ClassMetrics(undefined_as_zero=True).state()).values()["image_ap"] == 0.0


def assert_same_states(found: ClassMetrics, expected: ClassMetrics) -> None:
    assert all(np.array_equal(array, expected.state()[name]) for name, array in found.state().items())


def test_images_of_different_sizes_and_normal_ones_without_a_mask() -> None:
    maps, masks, scores, labels = images()
    some_maps = [maps[0, :5, :3], *maps[1:]]
    found = ClassMetrics()
    found.update(some_maps, [None, *masks[1:]], scores, labels)
    truth = np.concatenate([np.zeros(15, bool), masks[1:].ravel()])
    expected = roc_auc_score(truth, np.concatenate([part.ravel() for part in some_maps]))
    assert_close(found.values()["pixel_auroc"], float(expected), rtol=1e-12, atol=0)


def test_a_mask_of_another_size_is_refused() -> None:
    maps, masks, scores, labels = images()
    with pytest.raises(ValueError, match="image 0: mask"):
        ClassMetrics().update(maps, masks[:, :4], scores, labels)


@pytest.mark.parametrize("short", ["maps", "masks"])
def test_parts_of_other_numbers_of_images_are_refused_before_any_is_counted(short: str) -> None:
    maps, masks, scores, labels = images()
    parts, found = {"maps": [*maps], "masks": [*masks]}, ClassMetrics()
    parts[short].pop()
    with pytest.raises(ValueError, match=f"not of as many images: .*7 {short}"):
        found.update(**parts, image_scores=scores, labels=labels)
    assert found.values() == ClassMetrics().values()


def test_without_every_mask_the_pixel_metrics_are_undefined() -> None:
    maps, masks, scores, labels = images()
    none, some = ClassMetrics(), ClassMetrics()
    none.update(maps, None, scores, labels)
    some.update(maps, [*masks[:5], None, *masks[6:]], scores, labels)
    assert none.result().undefined == dict.fromkeys(PIXEL, "no masks")
    assert some.result().undefined == dict.fromkeys(PIXEL, "no mask for 1 of 4 anomalous images")
    whole = counted(maps, masks, scores, labels)
    assert none.curves() == some.curves() == {"roc": [], "pro": [], "image_roc": whole.curves()["image_roc"]}
    assert len(whole.curves()["image_roc"]) > 2
    assert {metric: none.values()[metric] for metric in IMAGE} == {metric: whole.values()[metric] for metric in IMAGE}


@pytest.mark.parametrize(("kept", "pixels", "missing"), [(0, True, "anomalous"), (1, False, "normal")])
def test_one_label_is_undefined_or_zero_as_published(kept: int, pixels: bool, missing: str) -> None:
    maps, masks, scores, labels = images()
    data = [array[labels == kept] for array in (maps, masks, scores, labels)]
    found, published = counted(*data), ClassMetrics(undefined_as_zero=True)
    published.update(*data)
    reasons = dict.fromkeys(IMAGE, f"one label only: no {missing} image")
    reasons |= {metric: f"one label only: no {missing} pixel" for metric in PIXEL if pixels}
    assert found.result().undefined == reasons
    assert published.result().undefined == {metric: why for metric, why in reasons.items() if metric in PIXEL}
    assert {published.values()[metric] for metric in IMAGE} == {0.0}
    assert {metric for metric, value in found.values().items() if value is None} == set(reasons)


def test_a_class_of_no_images_says_so() -> None:
    reasons = {**dict.fromkeys(PIXEL, "no pixels"), **dict.fromkeys(IMAGE, "no images")}
    assert ClassMetrics().result().undefined == reasons


@pytest.mark.parametrize("place", ["maps", "masks", "scores"])
def test_not_a_number_is_refused(place: str) -> None:
    maps, masks, scores, labels = images()
    masks = masks.astype(float)
    {"maps": maps, "masks": masks, "scores": scores}[place].flat[-1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ClassMetrics().update(maps, masks, scores, labels)


def test_curves_are_short_and_hold_the_areas() -> None:
    found = counted(*images(16, 48))
    values, curves = found.values(), found.curves()
    for name, metric, last in (("roc", "pixel_auroc", 1.0), ("pro", "pixel_aupro", 0.3)):
        points = np.array(curves[name])
        assert len(points) <= 200 and points[0].tolist() == [0, 0] and points[-1, 0] == last
        area = (np.diff(points[:, 0]) * (points[1:, 1] + points[:-1, 1]) / 2).sum() / last
        assert_close(float(area), values[metric], rtol=0, atol=2e-3)


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    arrays, found, sizes = images(8, 32), ClassMetrics(capacity=2**7), []
    tracemalloc.start()
    for seed in range(60):
        shift = np.float32(np.random.default_rng(seed).normal())
        found.update(arrays[0] + shift, arrays[1], arrays[2] + shift, arrays[3])
        if seed in (19, 59):
            found.state()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] < 1.1 * sizes[0] + 2**13
    assert found.images.negatives + found.images.positives == 480


REAL = SHARED / "realdata"


def test_the_means_of_several_data_sets_stand_apart_beside_the_mean_of_all() -> None:
    values = {"tile": 0.25, "wood": 0.75, "nut": None}
    record = {"classes": {name: dict.fromkeys(METRICS, value) for name, value in values.items()}, "mean": {}}
    found = with_sets(record, {"photographs": ("tile", "wood"), "drawn": ("nut",)})
    assert found == {**record, "sets": {label: dict.fromkeys(METRICS, mean) for label, mean in (
        ("photographs", 0.5), ("drawn", None))}}  # fmt: skip
    assert with_sets(record, {"photographs": ("tile", "wood", "nut")}) == record


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/realdata beside the project")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("class_name", ["magnetic_tile", "pavement_crack"])
def test_real_maps_differ_from_exact_values_by_less_than_1e4(class_name: str, rule: str) -> None:
    found, maps, masks = ClassMetrics(capacity=2**17), [], []
    for one in real_images(REAL / class_name, every=3):
        maps.append(RULES[rule](one.image))
        masks.append(np.zeros(maps[-1].shape, bool) if one.mask is None else one.mask)
        found.update(maps[-1:], masks[-1:], np.array([maps[-1].max()]), np.array([int(masks[-1].any())]))
    assert found.pixels.state()["shift"] > 0, "each score had a bin of its own, so nothing is shown"
    scores, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    values = found.values()
    assert_close(values["pixel_auroc"], float(roc_auc_score(truth, scores)), rtol=0, atol=1e-4)
    assert_close(values["pixel_aupro"], direct_aupro(maps, masks), rtol=0, atol=1e-4)
    assert_close(values["pixel_ap"], float(average_precision_score(truth, scores)), rtol=0, atol=1e-4)
    assert_close(values["pixel_f1max"], exact_f1max(scores, truth), rtol=0, atol=1e-4)
