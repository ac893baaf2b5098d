from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from aaclip_kit_plugins.losses import register_losses
from pydantic import ValidationError
from torch import Tensor

from ..helpers import assert_close, gradient_of
from .registered import registered


def loss_of(name: str, **options: Any) -> Any:
    factory, model = registered(register_losses)[name]
    return factory(model(**options))


def maps(levels: tuple[int, ...] = (6, 12)) -> tuple[dict[int, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(3, 1, 8, 8)
    masks[0, :, 2:5, 1:6] = 1
    masks[2, :, 0, 0] = 1
    return {level: torch.randn(3, 2, 8, 8, generator=generator).softmax(1) for level in levels}, masks


def naive_focal(probabilities: np.ndarray, masks: np.ndarray, gamma: float = 2.0) -> float:
    values = []
    for image in range(3):
        for row in range(8):
            for column in range(8):
                label = int(masks[image, 0, row, column])
                onehot = np.clip([1 - label, label], 1e-5, 1 - 1e-5)
                pt = (onehot * probabilities[image, :, row, column]).sum() + 1e-5
                values.append(-((1 - pt) ** gamma) * math.log(pt))
    return float(np.mean(values))


def naive_dice(channel: np.ndarray, target: np.ndarray, smooth: float = 1.0) -> float:
    ratios = [(2 * (p * m).sum() + smooth) / (p.sum() + m.sum() + smooth) for p, m in zip(channel, target, strict=True)]
    return 1 - float(np.mean(ratios))


@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.5])
def test_focal_equals_the_formula_pixel_by_pixel(gamma: float) -> None:
    levels, masks = maps()
    terms = loss_of("focal", gamma=gamma)(level_probabilities=levels, masks=masks)
    assert list(terms) == ["level_6_focal", "level_12_focal"]
    for level, probabilities in levels.items():
        expected = naive_focal(probabilities.double().numpy(), masks.numpy(), gamma)
        assert_close(terms[f"level_{level}_focal"], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("smooth", [1.0, 10.0])
def test_dice_equals_the_formula_image_by_image(smooth: float) -> None:
    levels, masks = maps()
    terms = loss_of("dice", smooth=smooth)(level_probabilities=levels, masks=masks)
    for level, probabilities in levels.items():
        p, m = probabilities.double().numpy(), masks[:, 0].double().numpy()
        normal, abnormal = naive_dice(p[:, 0], 1 - m, smooth), naive_dice(p[:, 1], m, smooth)
        assert_close(terms[f"level_{level}_dice_normal"], torch.tensor(normal, dtype=torch.float32))
        assert_close(terms[f"level_{level}_dice_abnormal"], torch.tensor(abnormal, dtype=torch.float32))


def test_losses_left_to_their_defaults_are_those_of_the_method() -> None:
    """Gamma 2 and a smoothing of 1 pixel, whichever of the three is asked for them."""
    levels, masks = maps((6,))
    p, m = levels[6].double().numpy(), masks[:, 0].double().numpy()
    expected = {
        "level_6_focal": naive_focal(p, masks.numpy(), gamma=2.0),
        "level_6_dice_normal": naive_dice(p[:, 0], 1 - m, smooth=1.0),
        "level_6_dice_abnormal": naive_dice(p[:, 1], m, smooth=1.0),
    }
    apart = loss_of("focal")(level_probabilities=levels, masks=masks)
    apart |= loss_of("dice")(level_probabilities=levels, masks=masks)
    for terms in (apart, loss_of("segmentation")(level_probabilities=levels, masks=masks)):
        assert terms.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(terms[name], torch.tensor(value, dtype=torch.float32))


def test_segmentation_is_focal_and_both_dice_losses_of_each_level() -> None:
    levels, masks = maps((6, 12, 24))
    options = {"gamma": 1.5, "smooth": 2.0}
    together = loss_of("segmentation", **options)(level_probabilities=levels, masks=masks)
    apart = loss_of("focal", gamma=1.5)(level_probabilities=levels, masks=masks)
    apart |= loss_of("dice", smooth=2.0)(level_probabilities=levels, masks=masks)
    assert together.keys() == apart.keys()
    assert len(together) == 9
    for name, value in apart.items():
        assert_close(together[name], value)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
def test_gradient_of_segmentation_is_that_of_the_formulas(gamma: float) -> None:
    levels, masks = maps((6,))
    probabilities = levels[6].double()
    # Right beyond all doubt, where 1 - pt is held at a bound that has no gradient.
    probabilities[0, :, 0] = torch.cat([1 - masks, masks], 1)[0, :, 0] * 1.1
    probabilities.requires_grad_()
    weights = {"level_6_focal": 0.7, "level_6_dice_normal": -1.3, "level_6_dice_abnormal": 2.1}

    def gradient(*losses: Any) -> Tensor:
        terms: dict[str, Tensor] = {}
        for loss in losses:
            terms |= loss(level_probabilities={6: probabilities}, masks=masks)
        total = sum(weights[name] * value for name, value in terms.items())
        assert isinstance(total, Tensor)
        return torch.autograd.grad(total, probabilities)[0]

    found = gradient(loss_of("segmentation", gamma=gamma, smooth=2.0))
    assert_close(found, gradient(loss_of("focal", gamma=gamma), loss_of("dice", smooth=2.0)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_certain_maps_give_finite_losses_and_gradients(gamma: float) -> None:
    _, masks = maps()
    right = torch.cat([1 - masks, masks], 1)
    segmentation = loss_of("segmentation", gamma=gamma)
    values = []
    for certain in (right, 1 - right):
        probabilities = certain.clone().requires_grad_()
        total = sum(segmentation(level_probabilities={6: probabilities}, masks=masks).values())
        total.backward()
        assert torch.isfinite(gradient_of(probabilities)).all()
        values.append(float(total.detach()))
    assert values[0] < 0.01 < 2 < values[1]


def test_half_precision_maps_are_summed_in_single_precision() -> None:
    levels, masks = maps()
    exact = loss_of("segmentation")(level_probabilities=levels, masks=masks)
    half = {level: value.bfloat16() for level, value in levels.items()}
    for name, value in loss_of("segmentation")(level_probabilities=half, masks=masks).items():
        assert value.dtype == torch.float32
        # Probabilities carry three digits in bfloat16.
        assert_close(value, exact[name], rtol=1e-2, atol=1e-2)


def test_orthogonality_is_the_square_of_the_mean_cosine() -> None:
    features = torch.zeros(2, 3, 2)
    features[:, 0, 0] = 1
    features[0, :, 1] = torch.tensor([0.6, 0.8, 0.0])
    features[1, :, 1] = torch.tensor([-0.2, 0.0, math.sqrt(0.96)])
    terms = loss_of("orthogonality")(text_features=features)
    assert_close(terms["orthogonality"], ((0.6 - 0.2) / 2) ** 2)


def test_image_cross_entropy_does_not_scale_the_logits() -> None:
    logits, labels = torch.tensor([[0.2, 0.5], [0.4, -0.1]]), torch.tensor([1, 0])
    first = -math.log(math.exp(0.5) / (math.exp(0.2) + math.exp(0.5)))
    second = -math.log(math.exp(0.4) / (math.exp(0.4) + math.exp(-0.1)))
    terms = loss_of("image_cross_entropy")(detection_logits=logits, labels=labels)
    assert_close(terms["image_cross_entropy"], (first + second) / 2)


def test_each_loss_names_what_it_needs() -> None:
    needs = {name: factory.needs for name, (factory, _) in registered(register_losses).items()}
    assert needs == {
        **dict.fromkeys(("segmentation", "focal", "dice"), ("level_probabilities", "masks")),
        "orthogonality": ("text_features",),
        **dict.fromkeys(("image_cross_entropy", "image_focal"), ("detection_logits", "labels")),
    }


@pytest.mark.parametrize(
    ("name", "bad"), [("focal", {"gamma": -1.0}), ("dice", {"smooth": 0.0}), ("dice", {"gamma": 2.0})]
)
def test_options_out_of_range_are_refused(name: str, bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        loss_of(name, **bad)
