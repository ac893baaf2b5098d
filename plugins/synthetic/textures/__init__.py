"""Procedural textures. Each function draws its parameters once and returns a tone as a function of coordinates,

so that a defect can bend, shift or turn the coordinates and the texture follows exactly.
"""

from .pattern import circuit, herringbone, perforated, printed, scales, tiles, tread
from .solid import board, brushed, cellular, glaze, hammered, marble, speckled, terrazzo, wood
from .textile import carpet, corrugated, knit, mesh, rope, woven

__all__ = [
    "board",
    "brushed",
    "carpet",
    "cellular",
    "circuit",
    "corrugated",
    "glaze",
    "hammered",
    "herringbone",
    "knit",
    "marble",
    "mesh",
    "perforated",
    "printed",
    "rope",
    "scales",
    "speckled",
    "terrazzo",
    "tiles",
    "tread",
    "wood",
    "woven",
]
