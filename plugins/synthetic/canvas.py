"""One picture in the making: coordinates, texture, named colours and the ramp that turns a tone into one of them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .fields import REFERENCE, Field, Generator, Range, Texture, between
from .surfaces import Surface

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (225, 222, 215),
    "grey": (135, 135, 137),
    "black": (52, 52, 56),
    "red": (172, 56, 48),
    "orange": (212, 128, 52),
    "yellow": (214, 188, 76),
    "green": (72, 134, 78),
    "blue": (62, 96, 164),
    "purple": (118, 78, 146),
    "pink": (214, 142, 158),
    "brown": (124, 84, 54),
    "beige": (202, 178, 142),
}
"""Colour word -> RGB, 0..255."""

RAMP_STEPS = 256
LEAST_SPAN = 45.0  # grey levels between the darkest and the lightest tone
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def jittered(rng: Generator, colour: str) -> Field:
    """The named colour, moved a little in brightness and in each channel: RGB [3], 0..255."""
    rgb = np.array(COLOURS[colour], np.float32) * between(rng, (0.85, 1.12))
    return np.clip(rgb + rng.normal(0.0, 7.0, 3), 8.0, 247.0).astype(np.float32)


def ramp(rng: Generator, colour: str, accent: str | None, contrast: Range, grey: bool) -> Field:
    """Colours for tones 0 to 1, [256, 3] in 0..255: dark to light of one colour, or from one colour to the accent."""
    base, depth = jittered(rng, colour), between(rng, contrast)
    if accent is None:
        low, high = base * (1.0 - 0.75 * depth), base + (250.0 - base) * 0.35 * depth
    else:
        low, high = base, base + (jittered(rng, accent) - base) * min(1.0, 0.4 + depth)
    span = float((high - low) @ LUMINANCE)
    if abs(span) < LEAST_SPAN:
        missing = np.float32(0.5 * np.copysign(LEAST_SPAN - abs(span), span))
        low, high = low - missing, high + missing
    steps = np.linspace(0.0, 1.0, RAMP_STEPS, dtype=np.float32)[:, None]
    colours = low + (high - low) * steps
    if grey:
        colours = np.repeat((colours @ LUMINANCE)[:, None], 3, axis=1)
    return np.clip(colours, 0.0, 255.0).astype(np.float32)


@lru_cache(maxsize=8)
def plane(size: int) -> tuple[Field, Field]:
    """Pixel centres x, y of an S x S picture in reference pixels, each [S, S]."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) * (REFERENCE / size)).astype(np.float32)
    x, y = np.meshgrid(line, line)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


class Ground(Protocol):
    """What a defect is drawn onto."""

    @property
    def size(self) -> int:
        """S, of pictures [S, S, 3]."""

    @property
    def grey(self) -> bool:
        """Whether it has no colour, so that defects have none."""

    def render(self, x: NDArray[Any], y: NDArray[Any]) -> Field:
        """Colours at picture coordinates x, y (reference pixels)."""


@dataclass
class Canvas:
    """A surface seen from a drawn distance and angle. Pictures are float32 [S, S, 3] in 0..255."""

    size: int
    texture: Texture
    ramp: Field
    turn: Field
    offset: Field
    colour: str
    grey: bool

    @classmethod
    def of(cls, rng: Generator, surface: Surface, size: int) -> "Canvas":
        """Draw the texture's parameters, the colours and the view."""
        texture = surface.texture(rng, **surface.options)
        grey = rng.random() < 0.15
        colour = str(rng.choice(surface.colours))
        others = [accent for accent in surface.accents if accent != colour]
        accent = str(rng.choice(others)) if others else None
        colours = ramp(rng, colour, accent, surface.contrast, grey)
        angle, zoom = between(rng, (0.0, 2.0 * np.pi)), between(rng, (0.75, 1.25))
        if rng.random() < 0.4:
            angle = between(rng, (-0.06, 0.06))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32) * zoom
        offset = rng.uniform(100.0, 900.0, 2).astype(np.float32)
        return cls(size, texture, colours, turn, offset, "grey" if grey else colour, grey)

    def render(self, x: NDArray[Any], y: NDArray[Any]) -> Field:
        """Colours of the texture at picture coordinates x, y (reference pixels)."""
        u = self.turn[0, 0] * x + self.turn[0, 1] * y + self.offset[0]
        v = self.turn[1, 0] * x + self.turn[1, 1] * y + self.offset[1]
        tone = self.texture(u, v)
        return np.take(self.ramp, (tone * (RAMP_STEPS - 1)).astype(np.int32), axis=0)
