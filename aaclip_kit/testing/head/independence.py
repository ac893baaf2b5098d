"""Images do not see one another, and text acts where the head says that it needs it."""

import torch

from ..parts import must_agree
from ..subject import Breach, NotApplicable, Subject
from . import each, stirred


@torch.no_grad()
def items_are_independent(subject: Subject) -> None:
    """Replace the other images and texts, and leave them out."""
    built = stirred(subject)
    tokens, text = built.tokens(), built.text()
    first = built.everything(tokens, text)
    others = each(built.tokens(seed=20), tokens, lambda other, own: torch.cat([own[:1], other[1:]]))
    other_text = built.text(seed=30)
    texts = None if text is None or other_text is None else torch.cat([text[:1], other_text[1:]])
    alone = each(tokens, tokens, lambda own, _: own[:1])
    for said, found in (
        ("with other images beside it", built.everything(others, texts)),
        ("alone", built.everything(alone, None if text is None else text[:1])),
    ):
        for name, value in found.items():
            must_agree(value[0], first[name][0], f"{said}, an image's {name} changed")


@torch.no_grad()
def text_acts_where_it_is_needed(subject: Subject) -> None:
    """Two texts; a head without needs_text is given None by every other check."""
    built = stirred(subject)
    if not built.head.needs_text:
        raise NotApplicable("the head needs no text")
    tokens = built.tokens()
    one, other = (built.everything(tokens, built.text(seed=seed)) for seed in (3, 4))
    if all(torch.equal(value, other[name]) for name, value in one.items()):
        raise Breach("it says that it needs text, and other text features change nothing")
