"""Maps and image scores of a head: in both domains, without chance, in half precision."""

from typing import get_args

import torch

from ...contracts.data import Domain
from ...contracts.head import Scores
from ..parts import is_tensor, must_agree, must_be_near_in_half
from ..subject import Breach, Subject
from . import IMAGES, Built, each, stirred


@torch.no_grad()
def scores_images(subject: Subject) -> None:
    """In both domains, smoothed or not, trained and before, three images and one."""
    built = stirred(subject)
    for images in (IMAGES, 1):
        text, untrained = built.text(images), built.tokens(images, reads=built.head.untrained_reads)
        every = (built.head.features(built.tokens(images)), built.head.untrained_features(untrained))
        for features in every:
            for domain in get_args(Domain):
                for smooth in (True, False):
                    _check_scores(built, built.score(features, text, domain, smooth), images)


def _check_scores(built: Built, scores: Scores, images: int) -> None:
    grid, size = built.backbone.grid, built.size
    is_tensor("the grid of score", scores.grid, (images, grid, grid))
    is_tensor("the maps of score", scores.maps, (images, size, size))
    is_tensor("the detection of score", scores.detection, (images,))
    for said, value in (("maps", scores.maps), ("detection", scores.detection)):
        if value.dtype != torch.float32:
            raise Breach(f"the {said} of score are {value.dtype}, not float32")
    probability = built.head.map_probability(scores.map_peak)
    is_tensor("map_probability", probability, (images,))
    if (probability < 0).any() or (probability > 1).any():
        raise Breach("map_probability gave values outside of 0 to 1")


@torch.no_grad()
def evaluation_draws_nothing(subject: Subject) -> None:
    """Evaluate under two seeds."""
    built, found = stirred(subject), []
    for seed in (7, 8):
        torch.manual_seed(seed)
        found.append(built.everything(built.tokens(), built.text()))
    for name, value in found[0].items():
        must_agree(found[1][name], value, f"in evaluation, the {name} under two torch seeds differ")


@torch.no_grad()
def bf16_is_near(subject: Subject) -> None:
    """Predictions under autocast from tokens in bfloat16, then scores without it, as the engine makes them."""
    built = stirred(subject)
    tokens, text = built.tokens(), built.text()
    exact = built.everything(tokens, text)
    halves = each(tokens, tokens, lambda part, _: part.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, half = built.head.features(halves), None if text is None else text.bfloat16()
        rough = built.predictions(features, half)
    scores = built.score(features, half, "industrial", True)
    for name, value in {**rough, "maps": scores.maps, "detection": scores.detection}.items():
        must_be_near_in_half(value, exact[name], f"the {name}")
    _check_scores(built, scores, IMAGES)
