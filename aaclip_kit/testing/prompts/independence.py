"""Classes and images do not see one another, and prompts go by the image where they say so."""

import torch

from ...contracts.backbone import text_tower
from ..parts import must_agree
from ..subject import Breach, NotApplicable, Subject
from . import CLASSES, Built, stirred


@torch.no_grad()
def classes_are_independent(subject: Subject) -> None:
    """Each class beside the others, and beside itself; images stay where they are."""
    built = stirred(subject)
    together, embedding = built.features(), built.embedding()
    for place, name in enumerate(CLASSES):
        alone = built.features((name,) * len(CLASSES), embedding)
        must_agree(alone[place], together[place], f"the text feature of '{name}' beside other classes and alone differ")


@torch.no_grad()
def images_are_independent(subject: Subject) -> None:
    """Images of one class and of others, one by one and together."""
    built = _by_image(subject)
    classes, embedding = ("cloth", "cloth", "nut", "cloth"), built.embedding(4)
    together = built.features(classes, embedding)
    others = torch.cat([embedding[:1], built.embedding(3, seed=9)])
    must_agree(
        built.features(classes, others)[0], together[0], "with other images beside it an image's feature changed"
    )
    for place, name in enumerate(classes):
        alone = built.features((name,), embedding[place : place + 1])
        must_agree(alone[0], together[place], "the text features of an image in a batch and alone differ")


@torch.no_grad()
def image_acts_where_it_says(subject: Subject) -> None:
    """Two images, and none."""
    built = _by_image(subject)
    first, depth = built.prompts.conditioned_from, text_tower(built.backbone).depth
    if not isinstance(first, int) or not 0 <= first < depth:
        raise Breach(f"its conditioned_from is {first!r}, no block of a text tower of {depth}")
    one, other = (built.features(("cloth",), built.embedding(1, seed=seed)) for seed in (2, 3))
    if torch.equal(one, other):
        raise Breach(f"it says that it goes by the image from block {first} on, and two images have the same features")
    if not built.text.class_features(("cloth",)).isfinite().all():
        raise Breach("without an image, as for the text context of vision stages, its features are not finite")


def _by_image(subject: Subject) -> Built:
    built = stirred(subject)
    if not built.text.goes_by_image:
        raise NotApplicable("the prompts do not go by the image")
    return built
