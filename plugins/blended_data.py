"""The data set `blended`: defects with exact masks, blended into photographs of surfaces, shipped ones or own."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from aaclip_kit import DataSet, Register, UserError, UserErrors, hookimpl, passed_over, search_folder

from .folder import DataPath, unknown_classes
from .generated import GeneratedOptions, chosen_classes, read_generated

if TYPE_CHECKING:
    from .synthetic.blend import Photograph

_FEWEST, _SHARE = 5, 5
"""The fewest photographs of a class; a fifth each serves validation and test, the rest training."""


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
    own, notes = _own(options.photographs.expanduser(), options.split) if options.photographs else ({}, ())
    classes = chosen_classes(options, sorted(own or shipped), "blended")
    if strange := unknown_classes(tuple(options.real_names), classes, "blended real_names"):
        raise UserErrors(strange)

    def paint(name: str, index: int, defect: str | None) -> tuple[Any, Any]:
        rng = np.random.Generator(np.random.PCG64([options.seed, zlib.crc32(name.encode()), index]))
        surfaces = own[name] if own else photographs_of(name)
        others = [photograph for other in shipped if other != name for photograph in photographs_of(other)]
        return blend(surfaces[int(rng.integers(len(surfaces)))], others, rng, defect, options.image_size)

    # Of the shipped ones the digest is of their files, so that nothing is decoded where all is made already.
    used = hashlib.sha256(digest_of(options.split))
    for of, photograph in ((name, one) for name in classes for one in own.get(name, ())):
        used.update(f"{of} {photograph.shape}".encode() + hashlib.sha256(photograph.tobytes()).digest())
    kinds = dict.fromkeys(classes, tuple(BLENDS))
    data = read_generated(options, "blended", kinds, paint, used.digest(), options.real_names)
    return replace(data, notes=(*data.notes, *notes))


def _own(root: Path, split: str) -> tuple[dict[str, "list[Photograph]"], tuple[str, ...]]:
    """Photographs of a split by class, and what is to be said of them."""
    if not root.is_dir():
        fix = "correct `photographs`, or leave it out for those of this package"
        raise UserError("there is no such folder", where=str(root), fix=fix)
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    flat = search_folder(root).images if not folders else []
    found = {root.absolute().name: flat} if flat else {path.name: search_folder(path).images for path in folders}
    notes = list(
        passed_over(("beside the classes", path) for path in sorted(root.iterdir()) if folders and path.is_file())
    )
    classes: dict[str, list[Photograph]] = {}
    for name, files in found.items():
        classes[name], said = _read_own(name, root if flat else root / name, sorted(files), split)
        notes += said
    if not classes:
        raise UserError(
            "no photograph in this folder", where=str(root), fix="put 5 or more images without defects there"
        )
    return classes, tuple(notes)


def _read_own(name: str, folder: Path, files: Sequence[Path], split: str) -> tuple["list[Photograph]", list[str]]:
    import numpy as np

    from aaclip_kit import open_picture

    from .synthetic.blend import LEAST_CROP

    if len(files) < _FEWEST:
        problem = f"class '{name}' has {len(files)} photographs, of which no part can be kept for validation and test"
        raise UserError(problem, where=str(folder), fix=f"give {_FEWEST} or more, all without defects")
    pictures = [(file, np.asarray(open_picture(file))) for file in files]
    small = [(file, one) for file, one in pictures if min(one.shape[:2]) < LEAST_CROP]
    if small:
        file, one = small[0]
        more = f", and {len(small) - 1} more are too small" if small[1:] else ""
        problem = (
            f"is {one.shape[1]} x {one.shape[0]} pixels{more}; a part of {LEAST_CROP} x {LEAST_CROP} is cut out of it"
        )
        raise UserError(problem, where=str(file), fix="leave it out, or give it larger")
    kept = len(files) // _SHARE
    part = {"validation": slice(0, kept), "test": slice(kept, 2 * kept), "train": slice(2 * kept, None)}[split]
    odd = [str(file) for file, _ in unlike(pictures)]
    said = [f"{len(odd)} of {len(files)} photographs of {name} are unlike the others, such as {odd[0]}: a defect in "
            "them would be taught as normal"] if odd else []  # fmt: skip
    return [one for _, one in pictures[part]], said


def unlike(pictures: "Sequence[tuple[Path, Photograph]]", beyond: float = 6.0) -> "list[tuple[Path, Photograph]]":
    """Photographs with a place that stands out from the picture it is in, far more than in the others.

    A place is a sixteenth of the side. What counts is its mean grey and its contrast, less the picture's median: the
    largest of each photograph, against the median absolute deviation of all of them (`beyond` of it).
    """
    import numpy as np

    def most(photograph: Any) -> float:
        grey = photograph.mean(-1)
        side = max(4, min(grey.shape) // 16)
        rows, columns = (length // side for length in grey.shape)
        tiles = grey[: rows * side, : columns * side].reshape(rows, side, columns, side).swapaxes(1, 2)
        facts = np.stack([tiles.mean((2, 3)), tiles.std((2, 3))])
        return float(np.abs(facts - np.median(facts, (1, 2), keepdims=True)).max())

    values = np.array([most(photograph) for _, photograph in pictures])
    spread = np.median(np.abs(values - np.median(values)))
    limit = np.median(values) + beyond * max(1.4826 * spread, 2.0)
    return [picture for picture, value in zip(pictures, values, strict=True) if value > limit]


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `blended`."""
    register("blended", read_blended, BlendedOptions)
