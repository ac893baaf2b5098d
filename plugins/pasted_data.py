"""The data set `pasted`: defects with exact masks, put onto whole photographs of one's own things without defects."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import Field

from aaclip_kit import DataSet, Register, UserErrors, hookimpl

from .folder import DataPath, unknown_classes
from .generated import GeneratedOptions, chosen_classes, read_generated
from .own_photographs import own_digest, read_own

if TYPE_CHECKING:
    from PIL.Image import Image

    from .synthetic.blend import Photograph

Kind = Literal[
    "cut", "scar", "curve", "foreign", "moved", "stain", "blur", "scratch", "crack", "hole", "fibre", "chip", "dent",
    "warp", "patch", "smear",
]  # fmt: skip
"""A kind of defect: cut out and pasted, blended, or as drawings have it."""


class PastedOptions(GeneratedOptions):
    """Own photographs without defects, whole, and the same with a defect; the splits share no photograph."""

    photographs: DataPath = Field(
        description="folder of photographs without defects, right in it or in a folder for each class, 5 or more of a "
        "class. A split takes its own part of them"
    )
    kinds: list[Kind] = Field(list(get_args(Kind)), min_length=1, description="kinds of defect; by default all")
    real_names: dict[str, str] = Field(default_factory=dict, description="class to the name that the prompts use")


def read_pasted(options: PastedOptions) -> DataSet:
    """Read the pictures, made where they are not in the cache.

    Raises `UserError`: an unknown class, a bad cache; a folder without photographs, or with too few of them.
    """
    import numpy as np

    from .synthetic.paste import paste, squeezed
    from .synthetic.photographs import digest_of, materials_of, photographs_of

    def whole(_: Path, picture: "Image") -> "Photograph":
        return squeezed(picture, options.image_size)

    own, notes = read_own(options.photographs, options.split, whole)
    classes = chosen_classes(options, sorted(own), "pasted")
    if strange := unknown_classes(tuple(options.real_names), classes, "pasted real_names"):
        raise UserErrors(strange)

    def paint(name: str, index: int, defect: str | None) -> tuple[Any, Any]:
        rng = np.random.Generator(np.random.PCG64([options.seed, zlib.crc32(name.encode()), index]))
        # Each as it is first, then mirrored, so that none comes again before it must.
        mirrored, place = divmod(index, len(own[name]))
        photograph = own[name][place][:: -1 if mirrored & 2 else 1, :: -1 if mirrored & 1 else 1]
        others = [other for material in materials_of(options.split) for other in photographs_of(material)]
        return paste(photograph, others, rng, None if defect is None else str(rng.choice(options.kinds)))

    made_of = digest_of(options.split) + own_digest({name: own[name] for name in classes})
    kinds = dict.fromkeys(classes, ("pasted",))
    data = read_generated(options, "pasted", kinds, paint, made_of, options.real_names)
    return replace(data, notes=(*data.notes, *notes))


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `pasted`."""
    register("pasted", read_pasted, PastedOptions)
