"""Textures made of threads: woven, knit, carpet, rope, mesh."""

from __future__ import annotations

import numpy as np

from ..fields import Field, Generator, LatticeValues, Noise, Range, Texture, between, edge, fraction, ridge, unit


def woven(rng: Generator, period: Range = (7, 11), float_length: int = 1, aspect: Range = (0.8, 1.25)) -> Texture:
    """Two thread systems that cross; `float_length` 1 is plain weave, 2 and 3 are twills."""
    pitch_u = between(rng, period)
    pitch_v = pitch_u * between(rng, aspect)
    depth, uneven = between(rng, (0.5, 0.9)), between(rng, (0.05, 0.3))
    shade = LatticeValues(rng)
    cycle = 2 * float_length

    def texture(u: Field, v: Field) -> Field:
        a, b = u / pitch_u, v / pitch_v
        i, j = np.floor(a).astype(np.int32), np.floor(b).astype(np.int32)
        warp_on_top = (i + j) % cycle < float_length
        profile = np.where(warp_on_top, ridge(a) * (0.6 + 0.4 * ridge(b)), ridge(b) * (0.6 + 0.4 * ridge(a)) * 0.8)
        thread = np.where(warp_on_top, shade.at(i, i * 0), shade.at(j * 0 + 7, j))
        return unit(1.0 - depth + depth * profile + uneven * (thread - 0.5))

    return texture


def knit(rng: Generator, period: Range = (8, 13)) -> Texture:
    """Columns of V-shaped stitches."""
    pitch = between(rng, period)
    slant, depth = between(rng, (0.5, 0.9)), between(rng, (0.6, 0.9))
    grain = Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        a = u / pitch
        across = np.abs(2.0 * fraction(a) - 1.0)
        stitch = ridge(v / pitch * 1.3 + slant * across)
        column = ridge(2.0 * a)
        return unit(1.0 - depth + depth * stitch * (0.35 + 0.65 * column) + 0.15 * (grain(u / 1.5, v / 1.5) - 0.5))

    return texture


def carpet(rng: Generator, tuft: Range = (1.4, 2.6), stretch: Range = (1.0, 2.5), patchy: float = 0.3) -> Texture:
    """Fine tufts, denser and lighter in patches."""
    size, long = between(rng, tuft), between(rng, stretch)
    tufts, patches = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        fine = tufts(u / (size * long), v / size)
        return unit(0.5 + 1.1 * (fine - 0.5) + patchy * (patches(u / 22.0, v / 22.0) - 0.5))

    return texture


def rope(rng: Generator, strand: Range = (12, 20)) -> Texture:
    """Parallel ropes, each of twisted yarns."""
    width = between(rng, strand)
    lay = width * between(rng, (0.35, 0.6))
    slant = between(rng, (0.8, 1.5)) * width
    mirrored = bool(rng.integers(2))

    def texture(u: Field, v: Field) -> Field:
        b = v / width
        turn = np.where(np.floor(b) % 2 > 0, -1.0, 1.0).astype(np.float32) if mirrored else np.float32(1.0)
        yarn = ridge((u + turn * slant * fraction(b)) / lay)
        return unit(ridge(b) ** 0.6 * (0.35 + 0.65 * yarn))

    return texture


def mesh(rng: Generator, period: Range = (9, 15), wire: Range = (0.22, 0.38)) -> Texture:
    """Two crossing families of round wires over a ground that shows through."""
    pitch, thickness = between(rng, period), between(rng, wire)
    ground = between(rng, (0.0, 0.2))
    backing = Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        a, b = u / pitch, v / pitch
        top = (np.floor(a + 0.5) + np.floor(b + 0.5)) % 2 > 0
        wires = []
        for along in (a, b):
            across = np.abs(fraction(along + 0.5) - 0.5) / (thickness * 0.5)
            wires.append(np.where(across < 1.0, 1.0 - 0.6 * across * across, -1.0))
        first, second = np.where(top, wires[0], wires[1]), np.where(top, wires[1], wires[0])
        crossed = np.where(first > 0, first, second)
        return unit(np.where(crossed > 0, crossed, ground + 0.15 * backing(u / 6.0, v / 6.0)))

    return texture


def corrugated(rng: Generator, period: Range = (8, 16), sharpness: Range = (0.6, 2.0), ribs: float = 0.0) -> Texture:
    """Parallel waves or ribs; `ribs` above 0 leaves flat ground between them."""
    pitch, power = between(rng, period), between(rng, sharpness)
    waver = Noise(rng)
    grain = Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        b = v / pitch + 0.25 * (waver(u / 50.0, v / 50.0) - 0.5)
        wave = ridge(b) ** power
        wave = edge(wave, ribs, 0.4) if ribs > 0 else wave
        return unit(0.1 + 0.8 * wave + 0.16 * (grain(u / 2.0, v / 1.2) - 0.5))

    return texture
