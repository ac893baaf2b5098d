"""Named colours and the ramp that turns a texture's tone into colour."""

from __future__ import annotations

import numpy as np

from .fields import Field, Generator, Range, between

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
    clipped: Field = np.clip(colours, 0.0, 255.0).astype(np.float32)
    return clipped
