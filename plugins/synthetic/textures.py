"""Procedural textures: solid materials, then threads, then laid-out figures that repeat.

Each function draws its parameters once and returns a tone as a function of coordinates, so that a defect can bend,
shift or turn the coordinates and the texture follows exactly.
"""

import numpy as np

from .fields import Cells, Field, Generator, LatticeValues, Noise, Range, Texture, between, clamp, edge, fraction, ridge

# Solid materials: metal, stone, wood, leather, glaze, board.


def brushed(rng: Generator, fineness: Range = (0.8, 1.6), length: Range = (25, 60), depth: float = 0.9) -> Texture:
    """Fine parallel streaks."""
    fine, long = between(rng, fineness), between(rng, length)
    streaks, bands = Noise(rng), Noise(rng)
    return lambda u, v: clamp(
        0.5 + depth * (streaks(u / long, v / fine) - 0.5) + 0.35 * (bands(u / 120.0, v / 9.0) - 0.5)
    )


def wood(rng: Generator, ring: Range = (7, 14)) -> Texture:
    """Wavy year rings with fine pores along them."""
    pitch, bend = between(rng, ring), between(rng, (1.0, 2.5))
    waver, pores = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        rings = fraction(v / pitch + bend * waver(u / 70.0, v / 25.0))
        late = rings * rings * np.where(rings > 0.93, 0.4, 1.0)
        return clamp(0.85 - 0.65 * late + 0.3 * (pores(u / 14.0, v / 1.1) - 0.5))

    return texture


def speckled(rng: Generator, grain: Range = (1.5, 3.0), contrast: Range = (1.0, 2.0), coarse: float = 0.5) -> Texture:
    """Grains of two sizes, hard or soft."""
    size, gain = between(rng, grain), between(rng, contrast)
    fine, large = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        mixed = (1.0 - coarse) * fine(u / size, v / size) + coarse * large(u / (3.1 * size), v / (3.1 * size))
        return clamp(0.5 + gain * (mixed - 0.5) * 1.4)

    return texture


def cellular(rng: Generator, size: Range = (7, 12), crease: Range = (0.15, 0.35), filled: float = 0.3) -> Texture:
    """Cells between creases: leather, cork, foam."""
    pitch, width = between(rng, size), between(rng, crease)
    cells = Cells(rng)

    def texture(u: Field, v: Field) -> Field:
        first, second, _, _, tone = cells(u / pitch, v / pitch)
        return clamp(edge(second - first, width, 2.0 * width) * (1.0 - filled + filled * tone))

    return texture


def hammered(rng: Generator, size: Range = (10, 18), gloss: Range = (0.6, 1.1)) -> Texture:
    """Round hollows lit from one side."""
    pitch, gain, sun = between(rng, size), between(rng, gloss), between(rng, (0.0, 2 * np.pi))
    cells = Cells(rng)
    sun_x, sun_y = float(np.cos(sun)), float(np.sin(sun))

    def texture(u: Field, v: Field) -> Field:
        _, _, dx, dy, _ = cells(u / pitch, v / pitch)
        return clamp(0.5 + gain * (dx * sun_x + dy * sun_y))

    return texture


def terrazzo(rng: Generator, size: Range = (8, 14)) -> Texture:
    """Stone chips of many tones in a speckled ground."""
    pitch, gap = between(rng, size), between(rng, (0.12, 0.25))
    cells, ground = Cells(rng, jitter=1.0), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        first, second, _, _, tone = cells(u / pitch, v / pitch)
        matrix = 0.75 + 0.25 * (ground(u / 1.6, v / 1.6) - 0.5)
        chip = (second - first > gap) & (tone < 0.75)
        return clamp(np.where(chip, tone * 1.2, matrix))

    return texture


def glaze(rng: Generator, depth: Range = (0.2, 0.6), grain: float = 0.1) -> Texture:
    """A nearly even coat with slow changes of tone."""
    gain = between(rng, depth)
    slow, fine = Noise(rng), Noise(rng)
    return lambda u, v: clamp(0.5 + gain * (slow(u / 28.0, v / 28.0) - 0.5) + grain * (fine(u / 1.8, v / 1.8) - 0.5))


def marble(rng: Generator, scale: Range = (18, 35), veins: Range = (3.0, 7.0)) -> Texture:
    """Thin veins through clouded stone."""
    size, sharp = between(rng, scale), between(rng, veins)
    bend, cloud, flow = Noise(rng), Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        shift = 1.2 * bend(u / 20.0, v / 20.0)
        vein = 1.0 - np.abs(2.0 * flow(u / size + shift, v / size - shift) - 1.0)
        return clamp(0.85 - 0.7 * vein**sharp + 0.25 * (cloud(u / 9.0, v / 9.0) - 0.5))

    return texture


def board(rng: Generator, fibre: Range = (4, 9), flute: Range = (6, 10), lines: float = 0.2) -> Texture:
    """Pressed fibres over a faint regular relief: cardboard and paper."""
    long, pitch = between(rng, fibre), between(rng, flute)
    along, across = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        fibres = 0.5 * along(u / long, v / 1.3) + 0.5 * across(u / 1.3, v / long)
        return clamp(0.5 + 1.3 * (fibres - 0.5) + lines * np.sin(v * (2 * np.pi / pitch)))

    return texture


# Threads: woven, knit, carpet, rope, mesh.


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
        return clamp(1.0 - depth + depth * profile + uneven * (thread - 0.5))

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
        return clamp(1.0 - depth + depth * stitch * (0.35 + 0.65 * column) + 0.15 * (grain(u / 1.5, v / 1.5) - 0.5))

    return texture


def carpet(rng: Generator, tuft: Range = (1.4, 2.6), stretch: Range = (1.0, 2.5), patchy: float = 0.3) -> Texture:
    """Fine tufts, denser and lighter in patches."""
    size, long = between(rng, tuft), between(rng, stretch)
    tufts, patches = Noise(rng), Noise(rng)
    return lambda u, v: clamp(
        0.5 + 1.1 * (tufts(u / (size * long), v / size) - 0.5) + patchy * (patches(u / 22.0, v / 22.0) - 0.5)
    )


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
        return clamp(ridge(b) ** 0.6 * (0.35 + 0.65 * yarn))

    return texture


def mesh(rng: Generator, period: Range = (9, 15), wire: Range = (0.22, 0.38)) -> Texture:
    """Two crossing families of round wires over a ground that shows through."""
    pitch, thickness = between(rng, period), between(rng, wire)
    ground = between(rng, (0.0, 0.2))
    backing = Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        a, b = u / pitch, v / pitch
        top = (np.floor(a + 0.5) + np.floor(b + 0.5)) % 2 > 0
        across = (np.abs(fraction(along + 0.5) - 0.5) / (thickness * 0.5) for along in (a, b))
        one, other = (np.where(part < 1.0, 1.0 - 0.6 * part * part, -1.0) for part in across)
        first, second = np.where(top, one, other), np.where(top, other, one)
        crossed = np.where(first > 0, first, second)
        return clamp(np.where(crossed > 0, crossed, ground + 0.15 * backing(u / 6.0, v / 6.0)))

    return texture


def corrugated(rng: Generator, period: Range = (8, 16), sharpness: Range = (0.6, 2.0), ribs: float = 0.0) -> Texture:
    """Parallel waves or ribs; `ribs` above 0 leaves flat ground between them."""
    pitch, power = between(rng, period), between(rng, sharpness)
    waver, grain = Noise(rng), Noise(rng)

    def texture(u: Field, v: Field) -> Field:
        b = v / pitch + 0.25 * (waver(u / 50.0, v / 50.0) - 0.5)
        wave = ridge(b) ** power
        wave = edge(wave, ribs, 0.4) if ribs > 0 else wave
        return clamp(0.1 + 0.8 * wave + 0.16 * (grain(u / 2.0, v / 1.2) - 0.5))

    return texture


# Laid-out figures that repeat: tiles, perforations, prints, tread, conductor tracks.


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
        return clamp(edge(distance, joint, 1.2) * (body + 0.25 * (grain(u / 2.5, v / 2.5) - 0.5)))

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
        return clamp(0.05 + sheet * (0.7 + 0.3 * (grain(u / 12.0, v / 1.5) - 0.5)))

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
        radius = radius * (1.0 + 0.35 * np.cos(count * np.arctan2(y, x))) if count else radius
        figure = 1.0 - edge(radius, size, 1.5 / pitch)
        figure = figure * edge(radius, 0.55 * size, 1.5 / pitch) if ring else figure
        return clamp(0.15 + 0.75 * figure + 0.2 * (weave(u / 1.6, v / 1.6) - 0.5))

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
        return clamp(edge(distance, 0.6, 1.0) * (body + 0.3 * (grain(u / 1.5, v / 8.0) - 0.5)))

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
        return clamp(np.where(reach < 1.0, lit, 0.35) + 0.2 * (grain(u / 2.0, v / 2.0) - 0.5))

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
        return clamp(tone)

    return texture
