"""Reading the MVTec AD folder layout: `CLASS/test/{good,DEFECT}/NAME.*`, masks in `CLASS/ground_truth/DEFECT`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from aaclip_kit import DataSet, Domain, Sample, UserError, UserErrors

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MASK_NAMES = ("{}_mask.png", "{}.png")
_LAYOUT = "a class is a folder with test/good, test/DEFECT and ground_truth/DEFECT"


@dataclass
class _Found:
    samples: list[Sample] = field(default_factory=list)
    without_mask: list[Path] = field(default_factory=list)


def read_mvtec(
    root: Path, classes: Sequence[str] | None, real_names: dict[str, str], domain: Domain = "industrial"
) -> DataSet:
    """Samples of the classes below `root`, or of `root` itself where it is one class, sorted by class, defect and name.

    Other files and folders are ignored. A class's real name is its folder name with spaces for underscores, unless
    `real_names` gives one. Raises `UserErrors`: no such folder, no class in it, an unknown or empty class, an anomalous
    image without a mask.
    """
    folders = class_folders(root)
    faults = unknown_classes([*(classes or ()), *real_names], list(folders), str(root))
    chosen = {name: folder for name, folder in folders.items() if classes is None or name in classes}
    samples: list[Sample] = []
    for name, folder in chosen.items():
        found = _read_class(name, folder)
        faults += _faults(folder, found)
        samples += found.samples
    if faults:
        raise UserErrors(faults)
    return DataSet(tuple(samples), {name: real_names.get(name, name.replace("_", " ")) for name in chosen}, domain)


def class_folders(root: Path) -> dict[str, Path]:
    """Class folders by name, sorted. Raises `UserError` where there is none."""
    if not root.is_dir():
        raise UserError("there is no such folder", where=str(root), fix="correct `root`, or put the data there")
    if (root / "test").is_dir():
        return {root.resolve().name: root}
    folders = {path.name: path for path in _listed(root) if (path / "test").is_dir()}
    if not folders:
        raise UserError("no class in this folder", where=str(root), fix=_LAYOUT)
    return folders


def unknown_classes(wanted: Sequence[str], known: Sequence[str], where: str) -> list[UserError]:
    """One fault for each wanted class that is not known, with the nearest name."""
    faults = []
    for name in dict.fromkeys(wanted):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            faults.append(UserError(f"no class '{name}'", where=where, fix=f"{hint}there are: {', '.join(known)}"))
    return faults


def _read_class(name: str, folder: Path) -> _Found:
    found = _Found()
    for images in _listed(folder / "test"):
        defect = None if images.name == "good" else images.name
        for image in _listed(images) if images.is_dir() else ():
            if image.suffix.lower() not in IMAGE_SUFFIXES or not image.is_file():
                continue
            mask = _mask(folder / "ground_truth" / images.name, image.stem) if defect else None
            if defect and mask is None:
                found.without_mask.append(image)
            found.samples.append(Sample(image, name, 1 if defect else 0, mask, defect))
    return found


def _mask(folder: Path, stem: str) -> Path | None:
    candidates = (folder / pattern.format(stem) for pattern in MASK_NAMES)
    return next((path for path in candidates if path.is_file()), None)


def _faults(folder: Path, found: _Found) -> list[UserError]:
    if not found.samples:
        return [UserError("the class has no images", where=str(folder / "test"), fix=_LAYOUT)]
    if not found.without_mask:
        return []
    first = found.without_mask[0]
    more = f", and {len(found.without_mask) - 1} more" if len(found.without_mask) > 1 else ""
    wanted = folder / "ground_truth" / first.parent.name / MASK_NAMES[0].format(first.stem)
    return [UserError(f"an anomalous image has no mask{more}", where=str(first), fix=f"put its mask at {wanted}")]


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
