"""The named surfaces and the splits that keep pretraining, training, validation and test apart."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from . import textures as t
from .fields import Range, Texture

Order = Literal["regular", "random", "even"]

METALS = ("grey", "white", "black", "yellow")
CLOTHS = ("white", "red", "blue", "green", "yellow", "purple", "pink", "beige", "black", "brown")
STONES = ("grey", "white", "beige", "black", "brown", "pink")
EARTHS = ("brown", "beige", "orange", "yellow")
PAINTS = ("white", "red", "blue", "green", "yellow", "orange", "purple", "grey", "beige")


@dataclass(frozen=True)
class Surface:
    """A kind of material: a texture with its parameter ranges and the colours it comes in.

    `order` says how much there is to disturb: "regular" textures show any change, "random" ones do not show that they
    were bent or moved, "even" ones show no change of the texture at all.
    """

    name: str
    texture: Callable[..., Texture]
    colours: tuple[str, ...]
    accents: tuple[str, ...] = ()
    contrast: Range = (0.5, 1.0)
    order: Order = "regular"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ")


def _surface(name: str, texture: Callable[..., Texture], colours: tuple[str, ...], **given: Any) -> Surface:
    own = {key: given.pop(key) for key in ("accents", "contrast", "order") if key in given}
    return Surface(name, texture, colours, options=given, **own)


# These double as the data set's training classes.
_TRAINING = (
    _surface("canvas", t.woven, CLOTHS, period=(6, 9)),
    _surface("denim", t.woven, ("blue", "black", "grey"), period=(5, 8), float_length=2),
    _surface("burlap", t.woven, EARTHS, period=(10, 15), aspect=(0.7, 1.4)),
    _surface("brushed_metal", t.brushed, METALS, contrast=(0.4, 0.8)),
    _surface("ceramic_tile", t.tiles, PAINTS, period=(20, 30)),
    _surface("brick_wall", t.tiles, ("red", "brown", "orange"), period=(12, 18), aspect=(1.8, 2.4), stagger=0.5),
    _surface("pegboard", t.perforated, (*EARTHS, "white"), period=(12, 17), radius=(0.15, 0.25)),
    _surface("granite", t.speckled, STONES, contrast=(0.6, 1.0), order="random"),
    _surface("leather", t.cellular, ("brown", "black", "red", "beige"), size=(6, 10), contrast=(0.4, 0.8)),
    _surface("corrugated_sheet", t.corrugated, METALS, period=(12, 20)),
    _surface("wallpaper", t.printed, PAINTS, accents=PAINTS, period=(14, 22)),
    _surface("hammered_metal", t.hammered, METALS, contrast=(0.4, 0.8)),
    _surface("carpet", t.carpet, CLOTHS, order="random"),
    _surface("circuit_board", t.circuit, ("green", "blue", "black"), accents=("green", "yellow", "white")),
    _surface("cardboard", t.board, ("brown", "beige"), contrast=(0.4, 0.7), order="random"),
    _surface("parquet", t.herringbone, EARTHS),
)

_PRETRAINING_ONLY = (
    _surface("silk", t.woven, CLOTHS, period=(4, 6), float_length=3, contrast=(0.3, 0.6)),
    _surface("satin_weave", t.woven, CLOTHS, period=(7, 10), float_length=2, accents=CLOTHS),
    _surface("brushed_brass", t.brushed, ("yellow", "orange"), fineness=(1.2, 2.4), length=(15, 30)),
    _surface("sanded_plastic", t.brushed, PAINTS, fineness=(1.5, 3.0), length=(8, 16), depth=0.7, contrast=(0.3, 0.6)),
    _surface("mosaic", t.tiles, PAINTS, period=(9, 13), contrast=(0.5, 1.0)),
    _surface("pavement", t.tiles, STONES, period=(18, 26), aspect=(1.0, 1.6), stagger=0.3),
    _surface("speaker_grille", t.perforated, METALS, period=(6, 9), radius=(0.25, 0.36), hexagonal=True),
    _surface("punched_leather", t.perforated, ("brown", "black", "red"), period=(10, 14), radius=(0.12, 0.2)),
    _surface("sandpaper", t.speckled, (*EARTHS, "grey"), grain=(1.0, 1.6), coarse=0.2, order="random"),
    _surface("gravel", t.speckled, STONES, grain=(2.5, 4.0), contrast=(0.7, 1.0), order="random"),
    _surface(
        "camouflage",
        t.speckled,
        ("green", "brown", "beige"),
        accents=("brown", "black", "beige"),
        grain=(5, 8),
        order="random",
    ),
    _surface("cork", t.cellular, EARTHS, size=(5, 8), filled=0.6, order="random"),
    _surface("foam", t.cellular, PAINTS, size=(9, 15), crease=(0.3, 0.5), filled=0.1),
    _surface("cobblestone", t.cellular, STONES, size=(13, 19), filled=0.5),
    _surface("corduroy", t.corrugated, CLOTHS, period=(6, 10)),
    _surface("ribbed_rubber", t.corrugated, ("black", "grey", "red"), period=(10, 16), ribs=0.5),
    _surface("printed_paper", t.printed, ("white", "beige", "yellow"), accents=("black", "red", "blue", "green")),
    _surface("polka_dot_cloth", t.printed, CLOTHS, accents=CLOTHS, period=(10, 14), petals=(0,)),
    _surface(
        "orange_peel_paint", t.hammered, PAINTS, size=(5, 8), gloss=(0.4, 0.7), contrast=(0.3, 0.6), order="random"
    ),
    _surface("felt", t.carpet, CLOTHS, tuft=(1.0, 1.6), contrast=(0.3, 0.6), patchy=0.6, order="random"),
    _surface("turf", t.carpet, ("green", "yellow"), tuft=(1.2, 2.0), stretch=(3.0, 5.0), order="random"),
    _surface("etched_plate", t.circuit, METALS, accents=METALS, period=(9, 14)),
    _surface("kraft_paper", t.board, EARTHS, fibre=(8, 16), lines=0.0, contrast=(0.3, 0.6), order="random"),
    _surface("zigzag_cloth", t.herringbone, CLOTHS, accents=CLOTHS, plank=(5, 8), run=(1.5, 2.2)),
    _surface("marble", t.marble, STONES, order="random"),
    _surface("onyx", t.marble, ("black", "green", "red"), scale=(12, 20), veins=(5, 9), order="random"),
    _surface("tread_plate", t.tread, METALS),
    _surface("rubber_mat", t.tread, ("black", "blue", "red"), period=(9, 13)),
    _surface("glazed_ceramic", t.glaze, PAINTS, order="even"),
    _surface("painted_wall", t.glaze, PAINTS, depth=(0.1, 0.3), grain=0.25, order="even"),
)

_VALIDATION = (
    _surface("knit", t.knit, CLOTHS),
    _surface("roof_scales", t.scales, ("red", "grey", "brown", "green")),
    _surface(
        "suede",
        t.carpet,
        ("brown", "beige", "grey", "black"),
        tuft=(1.6, 3.2),
        patchy=0.5,
        contrast=(0.3, 0.7),
        order="random",
    ),
    _surface("hammered_copper", t.hammered, ("orange", "brown"), size=(8, 13), gloss=(0.5, 1.0)),
)

_TEST = (
    _surface("woven", t.woven, ("beige", "white", "yellow", "brown", "green"), period=(8, 14), aspect=(1.2, 1.7)),
    _surface("wood", t.wood, ("brown", "beige", "orange")),
    _surface("wire_mesh", t.mesh, METALS),
    _surface("terrazzo", t.terrazzo, STONES, order="random"),
    _surface("rope_mat", t.rope, (*EARTHS, "white", "blue")),
    _surface("perforated_steel", t.perforated, ("grey", "white", "black"), hexagonal=True),
    _surface("printed_cotton", t.printed, CLOTHS, accents=CLOTHS, period=(9, 16), petals=(3, 6)),
    _surface("bathroom_tile", t.tiles, ("white", "blue", "green", "pink"), period=(14, 20), stagger=0.5),
)

SURFACES: dict[str, Surface] = {s.name: s for s in (*_TRAINING, *_PRETRAINING_ONLY, *_VALIDATION, *_TEST)}
TRAIN_SURFACES: tuple[str, ...] = tuple(s.name for s in _TRAINING)
PRETRAIN_SURFACES: tuple[str, ...] = TRAIN_SURFACES + tuple(s.name for s in _PRETRAINING_ONLY)
VALIDATION_SURFACES: tuple[str, ...] = tuple(s.name for s in _VALIDATION)
TEST_SURFACES: tuple[str, ...] = tuple(s.name for s in _TEST)
