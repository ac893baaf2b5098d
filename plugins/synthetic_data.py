"""The data set `synthetic`: drawn surfaces, kept in a cache in the MVTec layout and read like real data."""

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from aaclip_kit import DataSet, Options, Register, UserError, UserErrors, hookimpl, passed_over

from .folder import LAYOUTS, Classes, DataPath, read_classes, unknown_classes

CACHE_VARIABLE = "AAKIT_CACHE"
_SEEDS_PER_SEED = 100_000
_DIGESTS = ".digests.json"


class SyntheticOptions(Options):
    """Drawn surfaces and defects with exact masks; the splits share no class."""

    split: Literal["train", "validation", "test"] = Field(description="which classes are drawn")
    images_per_class: int = Field(40, ge=2, le=_SEEDS_PER_SEED, description="images of each class")
    normal_fraction: float = Field(
        0.5, gt=0, lt=1, description="part of a class's images without a defect; at least one image of each kind"
    )
    image_size: int = Field(112, ge=56, le=256, description="image side in pixels")
    seed: int = Field(0, ge=0, le=2**31, description="another seed gives other images of the same classes")
    classes: Classes | None = Field(None, description="classes to draw; by default all of the split")
    cache: DataPath | None = Field(
        None,
        description=f"folder for drawn images; by default ${CACHE_VARIABLE}, or aaclip_kit in the user's cache folder",
    )


def read_synthetic(options: SyntheticOptions) -> DataSet:
    """Draw what is not in the cache, or not as it was drawn, and read it; other files there are left alone.

    Raises `UserError`: an unknown class, a cache that cannot be written.
    """
    surfaces = _surfaces(options)
    folder = cache_folder(options) / _key(options, surfaces)
    try:
        if (drawn := _sound(folder)) is None:
            drawn = _draw_into(folder, options, surfaces)
    except OSError as error:
        fix = f"set `cache` or the environment variable {CACHE_VARIABLE} to a folder with room that you may write"
        raise UserError(f"the drawn images cannot be kept ({error})", where=str(folder), fix=fix) from None
    data = read_classes({name: folder / name for name in surfaces}, LAYOUTS["mvtec"], {})
    strange = {sample.image for sample in data.samples if sample.image.relative_to(folder).as_posix() not in drawn}
    notes = (*data.notes, *passed_over(("not drawn by the toolkit", image) for image in sorted(strange)))
    return replace(data, samples=tuple(one for one in data.samples if one.image not in strange), notes=notes)


def cache_folder(options: SyntheticOptions) -> Path:
    """Where drawn images are kept: the option, else the environment variable, else the user's cache folder."""
    if options.cache:
        return options.cache.expanduser()
    named = os.environ.get(CACHE_VARIABLE)
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return (Path(named) if named else Path(user) / "aaclip_kit").expanduser() / "synthetic"
    except RuntimeError:
        fix = f"set the environment variable HOME, or `cache` or {CACHE_VARIABLE} to a folder that you may write"
        raise UserError("no home folder is known", where=named or user, fix=fix) from None


def _surfaces(options: SyntheticOptions) -> tuple[str, ...]:
    from .synthetic import TEST_SURFACES, TRAIN_SURFACES, VALIDATION_SURFACES

    known = sorted({"train": TRAIN_SURFACES, "validation": VALIDATION_SURFACES, "test": TEST_SURFACES}[options.split])
    if faults := unknown_classes(options.classes or (), known, f"synthetic {options.split} classes"):
        raise UserErrors(faults)
    return tuple(name for name in known if options.classes is None or name in options.classes)


def _key(options: SyntheticOptions, surfaces: tuple[str, ...]) -> str:
    """Changes with every option that the pictures depend on, and with the drawing code itself."""
    from . import synthetic

    chosen: dict[str, Any] = options.model_dump(exclude={"cache", "classes"})
    digest = hashlib.sha256(json.dumps([chosen, surfaces], sort_keys=True).encode())
    package = Path(synthetic.__file__).parent
    for file in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return f"{options.split}-{options.image_size}-{digest.hexdigest()[:16]}"


def _sound(folder: Path) -> dict[str, str] | None:
    """Digest of each file by its path in the entry; None where one is missing, or not as it was drawn."""
    try:
        drawn: dict[str, str] = json.loads((folder / _DIGESTS).read_bytes())
        return drawn if drawn and all(_digest(folder / name) == digest for name, digest in drawn.items()) else None
    except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError):
        return None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _draw_into(folder: Path, options: SyntheticOptions, surfaces: tuple[str, ...]) -> dict[str, str]:
    """Draw beside the cache entry and rename, so that neither a kill nor a second process leaves half an entry.

    In an entry that is there already each file is replaced by the same drawing.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    beside.mkdir()
    try:
        for surface in surfaces:
            _draw_class(beside / surface, surface, options)
        drawn = {path.relative_to(beside).as_posix(): _digest(path) for path in sorted(beside.rglob("*.png"))}
        (beside / _DIGESTS).write_text(json.dumps(drawn))
        try:
            beside.rename(folder)
        except OSError:
            # Another process was first, or what is there is damaged.
            if not folder.is_dir():
                raise
            for name in (*drawn, _DIGESTS):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (beside / name).replace(folder / name)
        return drawn
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _draw_class(folder: Path, surface: str, options: SyntheticOptions) -> None:
    from PIL import Image

    from .synthetic import defects_of, draw

    count = options.images_per_class
    normal = min(max(1, round(count * options.normal_fraction)), count - 1)
    defects = defects_of(surface)
    for index in range(count):
        defect = None if index < normal else defects[(index - normal) % len(defects)]
        drawing = draw(surface, options.seed * _SEEDS_PER_SEED + index, defect, options.image_size)
        name = f"{index:05d}"
        images = folder / "test" / (defect or "good")
        images.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawing.image).save(images / f"{name}.png")
        if defect:
            masks = folder / "ground_truth" / defect
            masks.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawing.mask).convert("L").save(masks / f"{name}_mask.png")


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `synthetic`."""
    register("synthetic", read_synthetic, SyntheticOptions)
