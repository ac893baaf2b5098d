"""Captions of drawings, and which caption is true of which picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from aaclip_kit_plugins.synthetic import DEFECTS, SURFACES
from aaclip_kit_plugins.synthetic.fields import Generator
from numpy.typing import NDArray

KINDS: tuple[str, ...] = tuple(DEFECTS)

_NORMAL = ("{}", "a {}", "the {}")
_FLAWLESS = ("a flawless {}", "an intact {}", "a {} without defect", "a clean {}")
_DAMAGED = ("a damaged {}", "a broken {}", "a {} with flaw", "a {} with defect", "a {} with damage")
_KIND = ("a {} with a {}", "the {} with a {}", "a {} that has a {}", "{} with {} damage", "a {} on a {}")
_TEMPLATES = ("{}.", "a photo of {}.", "a photo of {}.", "a close-up photo of {}.", "a picture of {}.")

KIND_WORDS: dict[str, tuple[str, ...]] = {
    "scratch": ("scratch", "scratched line"),
    "crack": ("crack", "fracture"),
    "hole": ("hole", "puncture"),
    "stain": ("stain", "blot"),
    "fibre": ("fibre", "loose thread", "hair"),
    "chip": ("chip", "broken flake"),
    "dent": ("dent", "bump"),
    "warp": ("distortion", "warp"),
    "patch": ("misplaced patch", "wrong patch"),
    "smear": ("smear", "worn spot"),
}


@dataclass(frozen=True)
class Caption:
    """A caption and what it claims; None claims nothing. `state` is "normal", "damaged" or a defect kind."""

    text: str
    surface: str | None
    colour: str | None
    state: str

    def fits(self, surface: str, colour: str, defect: str | None) -> bool:
        """Whether a picture of this surface, colour and defect is described correctly."""
        right_thing = self.surface in (None, surface) and self.colour in (None, colour)
        if self.state == "normal":
            return right_thing and defect is None
        return right_thing and (defect is not None if self.state == "damaged" else defect == self.state)


def caption(rng: Generator, surface: str, colour: str, defect: str | None) -> Caption:
    """Describe a picture: with or without its name and colour, the defect by kind or in general."""
    named, coloured = rng.random() < 0.85, rng.random() < 0.3
    noun = SURFACES[surface].title if named else ("surface", "material", "object")[int(rng.integers(3))]
    noun = f"{colour} {noun}" if coloured else noun
    if defect is None:
        state = "normal"
        forms = _NORMAL if rng.random() < 0.7 else _FLAWLESS
        phrase = str(rng.choice(forms)).format(noun)
    elif rng.random() < 0.5:
        state = "damaged"
        phrase = str(rng.choice(_DAMAGED)).format(noun)
    else:
        state = defect
        word, form = str(rng.choice(KIND_WORDS[defect])), str(rng.choice(_KIND))
        phrase = form.format(word, noun) if " on " in form else form.format(noun, word)
    text = str(rng.choice(_TEMPLATES)).format(phrase)
    return Caption(text, surface if named else None, colour if coloured else None, state)


def agreement(captions: Sequence[Caption], pictures: Sequence[tuple[str, str, str | None]]) -> NDArray[np.bool_]:
    """Which picture (row) each caption (column) is true of, [B, B]."""
    return np.array([[c.fits(*picture) for c in captions] for picture in pictures], bool)
