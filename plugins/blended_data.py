"""The data set `blended`: defects with exact masks, blended into photographs of surfaces, shipped ones or own."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from aaclip_kit import DataSet, Register, UserError, UserErrors, hookimpl

from .folder import DataPath, unknown_classes
from .generated import GeneratedOptions, chosen_classes, read_generated
from .own_photographs import Own, own_digest, read_own

if TYPE_CHECKING:
    from PIL.Image import Image

    from .synthetic.blend import Photograph


class BlendedOptions(GeneratedOptions):
    """Defects blended into photographs, with exact masks; the splits share no photograph."""

    photographs: DataPath | None = Field(
        None,
        description="folder of own photographs without defects, right in it or in a folder for each class, 5 or more "
        "of a class; by default those of this package. A split takes its own part of them",
    )
    real_names: dict[str, str] = Field(default_factory=dict, description="class to the name that the prompts use")


def read_blended(options: BlendedOptions) -> DataSet:
    """Read the pictures, made where they are not in the cache.

    Raises `UserError`: an unknown class, a bad cache; a folder without photographs, or with too few or too small ones.
    """
    import numpy as np

    from .synthetic.blend import BLENDS, blend
    from .synthetic.photographs import digest_of, materials_of, photographs_of

    shipped = materials_of(options.split)
    own, notes = _own(options) if options.photographs else ({}, ())
    classes = chosen_classes(options, sorted(own or shipped), "blended")
    if strange := unknown_classes(tuple(options.real_names), classes, "blended real_names"):
        raise UserErrors(strange)

    def paint(name: str, index: int, defect: str | None) -> tuple[Any, Any]:
        rng = np.random.Generator(np.random.PCG64([options.seed, zlib.crc32(name.encode()), index]))
        surfaces = own[name] if own else photographs_of(name)
        others = [photograph for other in shipped if other != name for photograph in photographs_of(other)]
        return blend(surfaces[int(rng.integers(len(surfaces)))], others, rng, defect, options.image_size)

    # Of the shipped ones the digest is of their files, so that nothing is decoded where all is made already.
    made_of = digest_of(options.split) + own_digest({name: own.get(name, ()) for name in classes})
    kinds = dict.fromkeys(classes, tuple(BLENDS))
    data = read_generated(options, "blended", kinds, paint, made_of, options.real_names)
    return replace(data, notes=(*data.notes, *notes))


def _own(options: BlendedOptions) -> Own:
    """The class folders of own photographs, whole, since parts of them are cut out. Raises `UserError`."""
    import numpy as np

    from .synthetic.blend import LEAST_CROP

    def whole(file: Path, picture: "Image") -> "Photograph":
        height, width = picture.height, picture.width
        if min(height, width) < LEAST_CROP:
            problem = f"is {width} x {height} pixels; a part of {LEAST_CROP} x {LEAST_CROP} is cut out of it"
            raise UserError(problem, where=str(file), fix="leave it out, or give it larger")
        return np.asarray(picture)

    assert options.photographs is not None
    return read_own(options.photographs, options.split, whole)


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `blended`."""
    register("blended", read_blended, BlendedOptions)
