"""What a head says of itself, its features and its predictions: shapes, sums, arguments that stay as they are."""

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from ...contracts.head import ImageFeatures, ImageTokens
from ...model.image_tower import parts_of, tokens_of
from ..parts import draw, is_tensor, must_agree
from ..subject import Breach, NotApplicable, Subject
from . import IMAGES, LEVELS, PREDICTIONS, Built, build_head, stirred

NEAR_ONE: Final = 1e-4


def says_what_it_reads_and_makes(subject: Subject) -> None:
    """Its attributes, without a call."""
    head = build_head(subject).head
    if strange := [name for name in head.makes if name not in PREDICTIONS]:
        raise Breach(f"its `makes` names {', '.join(map(repr, strange))}; a head makes {' and '.join(PREDICTIONS)}")
    if not isinstance(head.needs_text, bool):
        raise Breach(f"its needs_text is {head.needs_text!r}")
    low, high = head.shown
    if not low < high:
        raise Breach(f"its shown is {head.shown!r}, which does not ascend")


@torch.no_grad()
def features_have_their_shape(subject: Subject) -> None:
    """Of the tokens that it reads, of some levels alone, and of the untouched backbone."""
    built = stirred(subject)
    head = built.head
    tokens = built.tokens()
    every = _features("features", head.features(tokens), tokens)
    some = replace(tokens, levels={LEVELS[0]: tokens.levels[LEVELS[0]]})
    first = _features("features of some levels", head.features(some), some).levels[LEVELS[0]]
    must_agree(first, every.levels[LEVELS[0]], "features of a level alone and beside others differ")
    untrained = built.tokens(reads=head.untrained_reads)
    seen = [_features("untrained_features", head.untrained_features(untrained), untrained)]
    embedding = draw(IMAGES, built.backbone.embedding_width)
    seen.append(_features("for_text", head.for_text(every, lambda: embedding), tokens))
    for features in seen if head.needs_text else ():
        shape = (IMAGES, built.backbone.grid**2, built.backbone.embedding_width)
        is_tensor("what text stages attend to, the first level,", features.levels[LEVELS[0]], shape)


def _features(said: str, features: object, tokens: ImageTokens) -> ImageFeatures:
    if not isinstance(features, ImageFeatures):
        raise Breach(f"{said} gave {type(features).__name__}, no ImageFeatures")
    if list(features.levels) != list(tokens.levels):
        raise Breach(f"{said} has the levels {list(features.levels)} of tokens of {list(tokens.levels)}")
    for level, patches in features.levels.items():
        count, of = tokens.levels[level].shape[1], f"{said} of level {level}"
        is_tensor(of, patches, (IMAGES, count, patches.shape[-1]))
    if features.detection is not None:
        is_tensor(f"{said} of the image", features.detection, (IMAGES, features.detection.shape[-1]))
    return features


@torch.no_grad()
def gives_what_it_makes(subject: Subject) -> None:
    """Each prediction of its `makes`: three images and one, the image size and another, the last level alone."""
    built = stirred(subject)
    for images in (IMAGES, 1):
        features, text = built.head.features(built.tokens(images)), built.text(images)
        if "level_probabilities" in built.head.makes:
            for size in (built.size, 20):
                _check_maps(built.head.level_probabilities(features, text, size), (images, 2, size, size))
        if "detection_logits" in built.head.makes:
            is_tensor("detection_logits", built.head.detection_logits(features, text), (images, 2))
        if "level_probabilities" in built.head.makes:
            last = replace(features, levels={max(LEVELS): features.levels[max(LEVELS)]})
            _check_maps(built.head.level_probabilities(last, text, built.size), (images, 2, built.size, built.size))


def _check_maps(maps: object, shape: tuple[int, ...]) -> None:
    if not isinstance(maps, dict) or not maps or not all(isinstance(level, int) for level in maps):
        raise Breach(f"level_probabilities gave {maps if maps == {} else type(maps).__name__}, no dict of levels")
    for level, of in maps.items():
        is_tensor(f"level_probabilities of level {level}", of, shape)


@torch.no_grad()
def probabilities_sum_to_one(subject: Subject) -> None:
    """At every pixel of every level."""
    built = stirred(subject)
    if "level_probabilities" not in built.head.makes:
        raise NotApplicable("the head makes no level_probabilities")
    maps = built.head.level_probabilities(built.head.features(built.tokens()), built.text(), built.size)
    for level, of in maps.items():
        if (of < 0).any():
            raise Breach(f"level_probabilities of level {level} has values below 0")
        if float((of.sum(dim=1) - 1).abs().max()) > NEAR_ONE:
            raise Breach(f"level_probabilities of level {level} do not sum to 1 over (normal, abnormal)")


@torch.no_grad()
def changes_nothing_in_place(subject: Subject) -> None:
    """Compare tokens, features and text with copies."""
    built = stirred(subject)
    given = {**parts_of(built.tokens()), **_others(built)}
    tokens, text = tokens_of(given, LEVELS), given.get("text features")
    features = built.head.features(tokens)
    given |= {f"features of level {level}": of for level, of in features.levels.items()}
    before = {name: value.clone() for name, value in given.items()}
    built.head.features(tokens)
    built.head.for_text(features, lambda: given["class embedding"])
    built.predictions(features, text)
    built.score(features, text, "medical", True)
    if changed := [name for name, value in given.items() if not torch.equal(value, before[name])]:
        raise Breach(f"what it was given was changed: {', '.join(changed)}")


def _others(built: Built) -> dict[str, Tensor]:
    text = built.text()
    return {
        "class embedding": draw(IMAGES, built.backbone.embedding_width),
        **({} if text is None else {"text features": text}),
    }
