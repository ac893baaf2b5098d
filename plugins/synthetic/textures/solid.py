"""Textures of solid materials: metal, stone, wood, leather, glaze, board."""

from __future__ import annotations

import numpy as np

from ..fields import Cells, Field, Generator, Noise, Range, Texture, between, edge, fraction, unit


def brushed(rng: Generator, fineness: Range = (0.8, 1.6), length: Range = (25, 60), depth: float = 0.9) -> Texture:
    """Fine parallel streaks."""
    fine, long = between(rng, fineness), between(rng, length)
    streaks, bands = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        return unit(0.5 + depth * (streaks(u / long, v / fine) - 0.5) + 0.35 * (bands(u / 120.0, v / 9.0) - 0.5))

    return texture


def wood(rng: Generator, ring: Range = (7, 14)) -> Texture:
    """Wavy year rings with fine pores along them."""
    pitch, bend = between(rng, ring), between(rng, (1.0, 2.5))
    waver, pores = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        rings = fraction(v / pitch + bend * waver(u / 70.0, v / 25.0))
        late = rings * rings * np.where(rings > 0.93, 0.4, 1.0)
        return unit(0.85 - 0.65 * late + 0.3 * (pores(u / 14.0, v / 1.1) - 0.5))

    return texture


def speckled(rng: Generator, grain: Range = (1.5, 3.0), contrast: Range = (1.0, 2.0), coarse: float = 0.5) -> Texture:
    """Grains of two sizes, hard or soft."""
    size, gain = between(rng, grain), between(rng, contrast)
    fine, large = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        mixed = (1.0 - coarse) * fine(u / size, v / size) + coarse * large(u / (3.1 * size), v / (3.1 * size))
        return unit(0.5 + gain * (mixed - 0.5) * 1.4)

    return texture


def cellular(rng: Generator, size: Range = (7, 12), crease: Range = (0.15, 0.35), filled: float = 0.3) -> Texture:
    """Cells between creases: leather, cork, foam."""
    pitch, width = between(rng, size), between(rng, crease)
    cells = Cells(rng)

    def texture(u: Field, v: Field) -> Field:
        first, second, _, _, tone = cells(u / pitch, v / pitch)
        body = edge(second - first, width, 2.0 * width)
        return unit(body * (1.0 - filled + filled * tone))

    return texture


def hammered(rng: Generator, size: Range = (10, 18), gloss: Range = (0.6, 1.1)) -> Texture:
    """Round hollows lit from one side."""
    pitch, gain, sun = between(rng, size), between(rng, gloss), between(rng, (0.0, 2 * np.pi))
    cells = Cells(rng)
    sun_x, sun_y = float(np.cos(sun)), float(np.sin(sun))

    def texture(u: Field, v: Field) -> Field:
        _, _, dx, dy, _ = cells(u / pitch, v / pitch)
        return unit(0.5 + gain * (dx * sun_x + dy * sun_y))

    return texture


def terrazzo(rng: Generator, size: Range = (8, 14)) -> Texture:
    """Stone chips of many tones in a speckled ground."""
    pitch, gap = between(rng, size), between(rng, (0.12, 0.25))
    cells, ground = Cells(rng, jitter=1.0), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        first, second, _, _, tone = cells(u / pitch, v / pitch)
        matrix = 0.75 + 0.25 * (ground(u / 1.6, v / 1.6) - 0.5)
        chip = (second - first > gap) & (tone < 0.75)
        return unit(np.where(chip, tone * 1.2, matrix))

    return texture


def glaze(rng: Generator, depth: Range = (0.2, 0.6), grain: float = 0.1) -> Texture:
    """A nearly even coat with slow changes of tone."""
    gain = between(rng, depth)
    slow, fine = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        return unit(0.5 + gain * (slow(u / 28.0, v / 28.0) - 0.5) + grain * (fine(u / 1.8, v / 1.8) - 0.5))

    return texture


def marble(rng: Generator, scale: Range = (18, 35), veins: Range = (3.0, 7.0)) -> Texture:
    """Thin veins through clouded stone."""
    size, sharp = between(rng, scale), between(rng, veins)
    bend, cloud, flow = Noise(rng), Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        shift = 1.2 * bend(u / 20.0, v / 20.0)
        vein = 1.0 - np.abs(2.0 * flow(u / size + shift, v / size - shift) - 1.0)
        return unit(0.85 - 0.7 * vein**sharp + 0.25 * (cloud(u / 9.0, v / 9.0) - 0.5))

    return texture


def board(rng: Generator, fibre: Range = (4, 9), flute: Range = (6, 10), lines: float = 0.2) -> Texture:
    """Pressed fibres over a faint regular relief: cardboard and paper."""
    long, pitch = between(rng, fibre), between(rng, flute)
    along, across = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        fibres = 0.5 * along(u / long, v / 1.3) + 0.5 * across(u / 1.3, v / long)
        return unit(0.5 + 1.3 * (fibres - 0.5) + lines * np.sin(v * (2 * np.pi / pitch)))

    return texture
