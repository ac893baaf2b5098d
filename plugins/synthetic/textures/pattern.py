"""Textures that repeat a laid-out figure: tiles, perforations, prints, tread, conductor tracks."""

from __future__ import annotations

import numpy as np

from ..fields import Field, Generator, LatticeValues, Noise, Range, Texture, between, edge, fraction, unit


def tiles(rng: Generator, period: Range = (16, 26), aspect: Range = (1.0, 1.0), stagger: float = 0.0) -> Texture:
    """Tiles or bricks between joints; `stagger` shifts every other row by that part of a tile."""
    height = between(rng, period)
    width = height * between(rng, aspect)
    joint, uneven = between(rng, (1.0, 2.2)), between(rng, (0.1, 0.5))
    shade, grain = LatticeValues(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        b = v / height
        j = np.floor(b)
        a = u / width + stagger * (j % 2)
        i = np.floor(a)
        side = np.minimum(0.5 - np.abs(a - i - 0.5), 0.5)
        distance = np.minimum(side * width, (0.5 - np.abs(b - j - 0.5)) * height)
        body = 0.75 + uneven * (shade.at(i.astype(np.int32), j.astype(np.int32)) - 0.5)
        return unit(edge(distance, joint, 1.2) * (body + 0.25 * (grain(u / 2.5, v / 2.5) - 0.5)))

    return texture


def perforated(
    rng: Generator, period: Range = (9, 14), radius: Range = (0.22, 0.36), hexagonal: bool = False
) -> Texture:
    """Round openings in a regular array."""
    pitch, size = between(rng, period), between(rng, radius)
    shift = 0.5 if hexagonal else 0.0
    grain = Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        b = v / pitch
        a = u / pitch + shift * (np.floor(b) % 2)
        x, y = fraction(a) - 0.5, fraction(b) - 0.5
        sheet = edge(np.sqrt(x * x + y * y), size, 1.5 / pitch)
        return unit(0.05 + sheet * (0.7 + 0.3 * (grain(u / 12.0, v / 1.5) - 0.5)))

    return texture


def printed(rng: Generator, period: Range = (12, 20), petals: tuple[int, ...] = (0, 4, 5)) -> Texture:
    """A staggered motif: dots (0 petals) or flowers, filled or as rings."""
    pitch, count = between(rng, period), int(rng.choice(petals))
    size, ring = between(rng, (0.25, 0.38)), bool(rng.integers(2))
    weave = Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        b = v / pitch
        a = u / pitch + 0.5 * (np.floor(b) % 2)
        x, y = fraction(a) - 0.5, fraction(b) - 0.5
        radius = np.sqrt(x * x + y * y)
        if count:
            radius = radius * (1.0 + 0.35 * np.cos(count * np.arctan2(y, x)))
        figure = 1.0 - edge(radius, size, 1.5 / pitch)
        if ring:
            figure = figure * edge(radius, 0.55 * size, 1.5 / pitch)
        return unit(0.15 + 0.75 * figure + 0.2 * (weave(u / 1.6, v / 1.6) - 0.5))

    return texture


def circuit(rng: Generator, period: Range = (7, 11)) -> Texture:
    """Conductor tracks on a grid, with pads at some crossings."""
    pitch, track = between(rng, period), between(rng, (0.13, 0.2))
    horizontal, vertical, pad = LatticeValues(rng), LatticeValues(rng), LatticeValues(rng)

    def texture(u: Field, v: Field) -> Field:
        a, b = u / pitch, v / pitch
        i, j = np.floor(a).astype(np.int32), np.floor(b).astype(np.int32)
        x, y = np.abs(fraction(a) - 0.5), np.abs(fraction(b) - 0.5)
        rows = (y < track) & (horizontal.at(i // 4, j) < 0.6)
        columns = (x < track) & (vertical.at(i, j // 4) < 0.5)
        pads = (x * x + y * y < 0.13) & (pad.at(i, j) < 0.25)
        return np.where(rows | columns | pads, np.float32(0.85), np.float32(0.2))

    return texture


def herringbone(rng: Generator, plank: Range = (7, 11), run: Range = (2.0, 3.0)) -> Texture:
    """Planks or stripes laid in a zigzag."""
    width = between(rng, plank)
    length = width * between(rng, run)
    uneven = between(rng, (0.3, 0.7))
    shade, grain = LatticeValues(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        a = u / length
        i = np.floor(a)
        fold = np.where(i % 2 > 0, 1.0 - (a - i), a - i) * length
        b = (v + fold) / width
        j = np.floor(b)
        distance = np.minimum((0.5 - np.abs(b - j - 0.5)) * width, (0.5 - np.abs(a - i - 0.5)) * length)
        body = 0.65 + uneven * (shade.at(i.astype(np.int32), j.astype(np.int32)) - 0.5)
        return unit(edge(distance, 0.6, 1.0) * (body + 0.3 * (grain(u / 1.5, v / 8.0) - 0.5)))

    return texture


def tread(rng: Generator, period: Range = (12, 18)) -> Texture:
    """Raised lozenges that alternate in direction, lit from one side."""
    pitch, length = between(rng, period), between(rng, (0.38, 0.46))
    breadth = length * between(rng, (0.3, 0.45))
    grain = Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        a, b = u / pitch, v / pitch
        turn = np.where((np.floor(a) + np.floor(b)) % 2 > 0, 1.0, -1.0).astype(np.float32)
        x, y = fraction(a) - 0.5, fraction(b) - 0.5
        along, across = (x + turn * y) * 0.7071, (y - turn * x) * 0.7071
        reach = np.sqrt((along / length) ** 2 + (across / breadth) ** 2)
        lit = 0.7 + 0.3 * np.sign(across)
        return unit(np.where(reach < 1.0, lit, 0.35) + 0.2 * (grain(u / 2.0, v / 2.0) - 0.5))

    return texture


def scales(rng: Generator, period: Range = (12, 18)) -> Texture:
    """Rows of overlapping round scales."""
    pitch, depth = between(rng, period), between(rng, (0.6, 0.9))
    shade = LatticeValues(rng)
    uneven = between(rng, (0.1, 0.4))

    def texture(u: Field, v: Field) -> Field:
        a, b = u / pitch, v / (0.5 * pitch)
        row = np.floor(b)
        down = b - row
        tone = np.zeros_like(u)
        free = np.ones(u.shape, bool)
        for back in (1.0, 0.0):
            shifted = a + 0.5 * ((row - back) % 2)
            x = fraction(shifted) - 0.5
            distance = np.sqrt(x * x + (0.5 * (down + back)) ** 2) * 2.0
            inside = free & ((distance < 1.0) | (back == 0.0))
            own = shade.at(np.floor(shifted).astype(np.int32), (row - back).astype(np.int32))
            tone = np.where(inside, 1.0 - depth * distance**3 + uneven * (own - 0.5), tone)
            free = free & ~inside
        return unit(tone)

    return texture
