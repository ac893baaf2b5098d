"""A user's own photographs of things without defects, of which data sets make training images."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aaclip_kit import UserError, passed_over, search_folder

if TYPE_CHECKING:
    from PIL.Image import Image

    from .synthetic.blend import Photograph

Own = tuple[dict[str, "list[Photograph]"], tuple[str, ...]]
"""Photographs by class, and what is to be said of them."""

Take = Callable[[Path, "Image"], "Photograph"]
"""What is kept of a photograph, uint8 [H, W, 3]; raises `UserError` for one that cannot serve."""

_FEWEST, _SHARE = 5, 5
"""The fewest photographs of a class; a fifth each serves validation and test, the rest training."""


def read_own(root: Path, split: str, take: Take) -> Own:
    """Read the split's part of the photographs right in `root`, or in a folder for each class.

    Raises `UserError`: no such folder, none or too few photographs in it, one that cannot serve.
    """
    root = root.expanduser()
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
        classes[name], said = _read_class(name, root if flat else root / name, sorted(files), split, take)
        notes += said
    if not classes:
        fix = "put 5 or more images without defects there"
        raise UserError("no photograph in this folder", where=str(root), fix=fix)
    return classes, tuple(notes)


def _read_class(
    name: str, folder: Path, files: Sequence[Path], split: str, take: Take
) -> tuple["list[Photograph]", list[str]]:
    from aaclip_kit import open_picture

    if len(files) < _FEWEST:
        problem = f"class '{name}' has {len(files)} photographs, of which no part can be kept for validation and test"
        raise UserError(problem, where=str(folder), fix=f"give {_FEWEST} or more, all without defects")
    pictures: list[tuple[Path, Photograph]] = []
    faults: list[UserError] = []
    for file in files:
        try:
            pictures.append((file, take(file, open_picture(file))))
        except UserError as fault:
            faults.append(fault)
    if faults:
        more = f", and {len(faults) - 1} more photographs cannot serve" if faults[1:] else ""
        raise UserError(f"{faults[0].problem}{more}", where=faults[0].where, fix=faults[0].fix)
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


def own_digest(photographs: Mapping[str, "Sequence[Photograph]"]) -> bytes:
    """Changes with every pixel of every class."""
    used = hashlib.sha256()
    for of, photograph in ((name, one) for name, several in photographs.items() for one in several):
        used.update(f"{of} {photograph.shape}".encode() + hashlib.sha256(photograph.tobytes()).digest())
    return used.digest()
