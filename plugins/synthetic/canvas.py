"""One picture in the making: coordinates, texture and ramp, and how they become colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .colours import RAMP_STEPS, ramp
from .fields import Field, Generator, Texture, between
from .surfaces import Surface

REFERENCE = 112
"""All lengths in this package are in pixels of a canvas of this size."""


@lru_cache(maxsize=8)
def plane(size: int) -> tuple[Field, Field]:
    """Pixel centres x, y of an S x S picture in reference pixels, each [S, S]."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) * (REFERENCE / size)).astype(np.float32)
    x, y = np.meshgrid(line, line)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


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
    def of(cls, rng: Generator, surface: Surface, size: int) -> Canvas:
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
