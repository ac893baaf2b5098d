"""Captions of pictures, and which caption is true of which picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from aaclip_kit_plugins.synthetic import DEFECTS
from aaclip_kit_plugins.synthetic.fields import Generator
from numpy.typing import NDArray
from open_clip import SimpleTokenizer

Words = tuple[str, str, str | None]
"""Surface, colour ("" where it is unknown) and defect of a picture."""

_NORMAL = ("{}", "a {}", "the {}")
_FLAWLESS = ("a flawless {}", "an intact {}", "a {} without defect", "a clean {}", "a perfect {}", "an unblemished {}")
_DAMAGED = ("a damaged {}", "a broken {}", "a {} with flaw", "a {} with defect", "a {} with damage")
_KIND = ("a {} with a {}", "the {} with a {}", "a {} that has a {}", "{} with {} damage", "a {} on a {}")
_TEMPLATES = ("{}.", "a photo of {}.", "a photo of {}.", "a close-up photo of {}.", "a picture of {}.")
_ANYTHING = ("surface", "material", "object", "texture")

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
    "curve": ("thin line", "hairline crack"),
    "foreign": ("foreign piece", "inclusion"),
}

KINDS: tuple[str, ...] = (*DEFECTS, "curve", "foreign")


@dataclass(frozen=True)
class Caption:
    """A caption and what it claims of the surface; None claims nothing."""

    text: str
    surface: str | None
    colour: str | None

    def fits(self, surface: str, colour: str) -> bool:
        """Whether a picture of this surface and colour is described correctly."""
        return self.surface in (None, surface) and self.colour in (None, colour)


class Writer:
    """Writes captions. `strange` of them call the surface by words that no picture explains.

    From those the text tower learns that the state of a thing does not depend on what it is called; and every word of
    the vocabulary is met.
    """

    def __init__(self, strange: float = 0.25) -> None:
        self._strange = strange
        tokens = SimpleTokenizer().decoder.values()
        self._words = [word[:-4] for word in tokens if word.endswith("</w>") and word[:-4].isalpha() and len(word) > 6]

    def noun(self, rng: Generator, words: Words) -> tuple[str, str | None, str | None]:
        """What a picture's surface is called, and the surface and colour that this claims."""
        surface, colour, _ = words
        if rng.random() < self._strange:
            return " ".join(str(rng.choice(self._words)) for _ in range(int(rng.integers(1, 3)))), None, None
        named, coloured = rng.random() < 0.75, bool(colour) and rng.random() < 0.3
        noun = surface if named else _ANYTHING[int(rng.integers(len(_ANYTHING)))]
        return f"{colour} {noun}" if coloured else noun, surface if named else None, colour if coloured else None

    def caption(self, rng: Generator, words: Words) -> Caption:
        """Name a picture's surface, with or without its colour; of its state a caption says nothing."""
        noun, surface, colour = self.noun(rng, words)
        return Caption(_framed(rng, str(rng.choice(_NORMAL)).format(noun)), surface, colour)

    def pair(self, rng: Generator, words: Words) -> tuple[str, str]:
        """A picture's surface said to be normal, and said to be damaged, by the same name.

        Half of the damaged pictures are said to have their own kind of defect.
        """
        noun, _, _ = self.noun(rng, words)
        defect = words[2]
        if defect is None or rng.random() < 0.5:
            return state_of(rng, noun, False), state_of(rng, noun, True)
        word, form = str(rng.choice(KIND_WORDS[defect])), str(rng.choice(_KIND))
        phrase = form.format(word, noun) if " on " in form else form.format(noun, word)
        return state_of(rng, noun, False), _framed(rng, phrase)


def state_of(rng: Generator, noun: str, damaged: bool) -> str:
    """A sentence that a thing is damaged, or that it is not."""
    forms = _DAMAGED if damaged else _NORMAL if rng.random() < 0.6 else _FLAWLESS
    return _framed(rng, str(rng.choice(forms)).format(noun))


def _framed(rng: Generator, phrase: str) -> str:
    return str(rng.choice(_TEMPLATES)).format(phrase)


def agreement(captions: Sequence[Caption], pictures: Sequence[Words]) -> NDArray[np.bool_]:
    """Which picture (row) each caption (column) is true of, [B, B]."""
    return np.array([[c.fits(surface, colour) for c in captions] for surface, colour, _ in pictures], bool)
