from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from aaclip_kit.evaluation.class_metrics import METRICS
from aaclip_kit.evaluation.rules import RULES, LabelledImage, colour_distance, darkness, image_score, rule_metrics

from ..helpers import assert_close
from .given import real_images

REAL = Path(__file__).parents[3] / "shared" / "realdata"


def spotted(colour: tuple[int, int, int], side: int = 48) -> np.ndarray:
    """Grey noise with one square spot of `colour` around the pixel (12, 30)."""
    noise = np.random.default_rng(0).integers(120, 136, (side, side, 3))
    noise[8:16, 26:34] = colour
    return noise.astype(np.uint8)


def peak(anomaly_map: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(anomaly_map.argmax(), anomaly_map.shape))


def inside_spot(position: tuple[int, ...]) -> bool:
    return 8 <= position[0] < 16 and 26 <= position[1] < 34


def test_darkness_finds_the_dark_spot_and_not_the_bright_one() -> None:
    assert inside_spot(peak(darkness(spotted((20, 20, 20)))))
    assert not inside_spot(peak(darkness(spotted((250, 250, 250)))))


@pytest.mark.parametrize("colour", [(20, 20, 20), (250, 250, 250), (200, 90, 128)])
def test_colour_distance_finds_a_spot_of_any_colour(colour: tuple[int, int, int]) -> None:
    assert inside_spot(peak(colour_distance(spotted(colour))))


def test_darkness_is_negative_grey_where_the_image_is_flat() -> None:
    image = np.full((20, 30, 3), (10, 100, 200), np.uint8)
    assert_close(darkness(image), np.full((20, 30), -(2.99 + 58.7 + 22.8), np.float32), rtol=1e-4)


@pytest.mark.parametrize(("rule", "share"), [("darkness", 1 / 192), ("colour_distance", 1 / 48)])
def test_the_maps_are_blurred_by_a_share_of_the_side(rule: str, share: float) -> None:
    """One pixel that differs becomes a Gaussian: its standard deviation along a row is that of the blur."""
    side = 384
    image = np.full((side, side, 3), 200, np.uint8)
    image[side // 2, side // 2] = 0
    found = RULES[rule](image).astype(np.float64)
    offsets = np.arange(-side // 8, side // 8 + 1)
    row = found[side // 2, side // 2 + offsets] - found[0, 0]
    # Samples of a Gaussian have its variance; one of 2 pixels and one of 8 are wide enough.
    assert_close(math.sqrt(float((row * offsets**2).sum() / row.sum())), share * side, rtol=0.01)


def test_colour_distance_counts_standard_deviations() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 100
    # Two equal halves: every pixel is one standard deviation from the mean, whatever the contrast.
    assert_close(colour_distance(image), np.ones((64, 64), np.float32), rtol=1e-4)
    assert_close(colour_distance(image // 2), np.ones((64, 64), np.float32), rtol=1e-4)


def test_an_image_of_one_colour_scores_zero() -> None:
    assert not colour_distance(np.full((9, 11, 3), 77, np.uint8)).any()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_a_larger_picture_of_the_same_thing_scores_the_same(rule) -> None:  # type: ignore[no-untyped-def]
    small = spotted((60, 20, 20), side=48)
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    assert_close(image_score(rule(large)), image_score(rule(small)), rtol=0.05)


def labelled(count: int, with_masks: bool = True) -> list[LabelledImage]:
    mask = np.zeros((48, 48), bool)
    mask[8:16, 26:34] = True
    bad = [LabelledImage(spotted((20 + i, 20, 20)), 1, mask if with_masks else None) for i in range(count)]
    return [*bad, *(LabelledImage(spotted((128, 128, 128 + i)), 0, None) for i in range(count))]


def test_rule_metrics_of_each_class_and_their_mean() -> None:
    table = rule_metrics({"tile": labelled(3), "wood": iter(labelled(2))})
    assert set(table) == {"darkness", "colour_distance"}
    for values in table.values():
        assert set(values["classes"]) == {"tile", "wood"}
        assert tuple(values["mean"]) == METRICS
        assert values["mean"]["image_auroc"] == 1.0
        assert values["mean"]["pixel_auroc"] > 0.95


def test_a_class_does_not_change_another() -> None:
    alone = rule_metrics({"tile": labelled(3)})
    together = rule_metrics({"tile": labelled(3), "wood": labelled(2, with_masks=False)})
    for rule in RULES:
        assert together[rule]["classes"]["tile"] == alone[rule]["classes"]["tile"]


def test_without_masks_only_the_images_are_measured() -> None:
    values = rule_metrics({"tile": labelled(2, with_masks=False)})["darkness"]["mean"]
    assert values["pixel_auroc"] is None
    assert values["image_auroc"] == 1.0


def test_one_label_is_undefined_or_zero_as_published() -> None:
    bad = labelled(2)[:2]
    assert rule_metrics({"tile": bad})["darkness"]["mean"]["image_auroc"] is None
    assert rule_metrics({"tile": bad}, undefined_as_zero=True)["darkness"]["mean"]["image_auroc"] == 0.0


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/realdata beside the project")
@pytest.mark.parametrize(
    ("class_name", "rule", "image_auroc", "pixel_auroc"),
    [
        ("magnetic_tile", "darkness", 0.50, 0.47),
        ("pavement_crack", "darkness", 0.81, 0.84),
        ("magnetic_tile", "colour_distance", 0.41, 0.54),
        ("pavement_crack", "colour_distance", 0.74, 0.95),
    ],
)
def test_the_figures_that_come_with_the_real_images(
    class_name: str, rule: str, image_auroc: float, pixel_auroc: float
) -> None:
    # Their own definition is stated in words only, hence the tolerance.
    values = rule_metrics({class_name: list(real_images(REAL / class_name))})[rule]["mean"]
    assert values["image_auroc"] == pytest.approx(image_auroc, abs=0.025)
    assert values["pixel_auroc"] == pytest.approx(pixel_auroc, abs=0.01)
