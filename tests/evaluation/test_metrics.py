from __future__ import annotations

from aaclip_kit.evaluation.class_metrics import METRICS, ClassResult, mean_metrics, results


def test_the_mean_leaves_undefined_classes_out() -> None:
    tile = {**dict.fromkeys(METRICS, 0.5), "image_auroc": 0.25, "pixel_aupro": None}
    wood = {**dict.fromkeys(METRICS, 1.0), "image_auroc": None, "pixel_aupro": None}
    mean = mean_metrics({"tile": tile, "wood": wood})
    assert mean == {**dict.fromkeys(METRICS, 0.75), "image_auroc": 0.25, "pixel_aupro": None}
    assert tuple(mean) == METRICS


def test_results_name_what_is_undefined_and_leave_curves_to_their_own_file() -> None:
    whole = ClassResult(dict.fromkeys(METRICS, 0.5), {}, {"roc": [[0, 0], [1, 1]], "pro": []})
    partial = ClassResult({**whole.values, "image_ap": None}, {"image_ap": "why"}, whole.curves)
    assert results({"tile": whole, "wood": partial}) == {
        "classes": {"tile": whole.values, "wood": partial.values},
        "mean": dict.fromkeys(METRICS, 0.5),
        "undefined": {"wood": {"image_ap": "why"}},
    }
