"""Data sets that are made and not taken: pictures kept in a cache in the MVTec layout, and read like real data."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from aaclip_kit import DataSet, Options, UserError, UserErrors, passed_over

from .folder import LAYOUTS, Classes, DataPath, read_classes, unknown_classes

CACHE_VARIABLE = "AAKIT_CACHE"
MOST_IMAGES = 100_000
_DIGESTS = ".digests.json"

Paint = Callable[[str, int, str | None], tuple[Any, Any]]
"""Class, number of the image, kind of defect (None: none) to an image uint8 [S, S, 3] and its mask bool [S, S]."""


class GeneratedOptions(Options):
    """What all data sets of made pictures are told."""

    split: Literal["train", "validation", "test"] = Field(description="which classes are made")
    images_per_class: int = Field(40, ge=2, le=MOST_IMAGES, description="images of each class")
    normal_fraction: float = Field(
        0.5, gt=0, lt=1, description="part of a class's images without a defect; at least one image of each kind"
    )
    image_size: int = Field(112, ge=56, le=256, description="image side in pixels")
    seed: int = Field(0, ge=0, le=2**31, description="another seed gives other images of the same classes")
    classes: Classes | None = Field(None, description="classes to make; by default all of the split")
    cache: DataPath | None = Field(
        None,
        description=f"folder for the images; by default ${CACHE_VARIABLE}, or aaclip_kit in the user's cache folder",
    )


def read_generated(
    options: GeneratedOptions,
    kind: str,
    defects: Mapping[str, Sequence[str]],
    paint: Paint,
    made_of: bytes = b"",
    real_names: Mapping[str, str] | None = None,
) -> DataSet:
    """Make what is not in the cache, or not as it was made, and read it; other files there are left alone.

    `defects` has the classes and the kinds of defect of each, `made_of` what the pictures depend on beside the options
    and the code of `synthetic` and of the file that has `paint`. Raises `UserError`: a cache that cannot be written.
    """
    code = Path(paint.__code__.co_filename).read_bytes()
    folder = cache_folder(options, kind) / _key(options, tuple(defects), made_of + code)
    try:
        if (made := _sound(folder)) is None:
            made = _make_into(folder, options, defects, paint)
    except OSError as error:
        fix = f"set `cache` or the environment variable {CACHE_VARIABLE} to a folder with room that you may write"
        raise UserError(f"the images cannot be kept ({error})", where=str(folder), fix=fix) from None
    data = read_classes({name: folder / name for name in defects}, LAYOUTS["mvtec"], real_names or {})
    strange = {sample.image for sample in data.samples if sample.image.relative_to(folder).as_posix() not in made}
    notes = (*data.notes, *passed_over(("not made by the toolkit", image) for image in sorted(strange)))
    return replace(data, samples=tuple(one for one in data.samples if one.image not in strange), notes=notes)


def cache_folder(options: GeneratedOptions, kind: str) -> Path:
    """Where pictures of a kind are kept: the option, else the environment variable, else the user's cache folder."""
    if options.cache:
        return options.cache.expanduser()
    named = os.environ.get(CACHE_VARIABLE)
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return (Path(named) if named else Path(user) / "aaclip_kit").expanduser() / kind
    except RuntimeError:
        fix = f"set the environment variable HOME, or `cache` or {CACHE_VARIABLE} to a folder that you may write"
        raise UserError("no home folder is known", where=named or user, fix=fix) from None


def chosen_classes(options: GeneratedOptions, known: Sequence[str], kind: str) -> tuple[str, ...]:
    """The classes that the options ask for. Raises `UserErrors` for one that is not known."""
    if faults := unknown_classes(options.classes or (), known, f"{kind} {options.split} classes"):
        raise UserErrors(faults)
    return tuple(name for name in known if options.classes is None or name in options.classes)


def _key(options: GeneratedOptions, classes: tuple[str, ...], made_of: bytes) -> str:
    """Changes with all that the pictures depend on, and with the code that makes them."""
    from . import synthetic

    chosen: dict[str, Any] = options.model_dump(mode="json", exclude={"cache", "classes", "real_names"})
    digest = hashlib.sha256(json.dumps([chosen, classes], sort_keys=True).encode() + made_of)
    package = Path(synthetic.__file__).parent
    for file in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return f"{options.split}-{options.image_size}-{digest.hexdigest()[:16]}"


def _sound(folder: Path) -> dict[str, str] | None:
    """Digest of each file by its path in the entry; None where one is missing, or not as it was made."""
    try:
        made: dict[str, str] = json.loads((folder / _DIGESTS).read_bytes())
        return made if made and all(_digest(folder / name) == digest for name, digest in made.items()) else None
    except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError):
        return None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _make_into(
    folder: Path, options: GeneratedOptions, defects: Mapping[str, Sequence[str]], paint: Paint
) -> dict[str, str]:
    """Make beside the cache entry and rename, so that neither a kill nor a second process leaves half an entry.

    In an entry that is there already each file is replaced by the same picture.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    beside.mkdir()
    try:
        for name, kinds in defects.items():
            _make_class(beside / name, options, kinds, paint)
        made = {path.relative_to(beside).as_posix(): _digest(path) for path in sorted(beside.rglob("*.png"))}
        (beside / _DIGESTS).write_text(json.dumps(made))
        try:
            beside.rename(folder)
        except OSError:
            # Another process was first, or what is there is damaged.
            if not folder.is_dir():
                raise
            for name in (*made, _DIGESTS):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (beside / name).replace(folder / name)
        return made
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _make_class(folder: Path, options: GeneratedOptions, defects: Sequence[str], paint: Paint) -> None:
    from PIL import Image

    count = options.images_per_class
    normal = min(max(1, round(count * options.normal_fraction)), count - 1)
    for index in range(count):
        defect = None if index < normal else defects[(index - normal) % len(defects)]
        image, mask = paint(folder.name, index, defect)
        name = f"{index:05d}"
        images = folder / "test" / (defect or "good")
        images.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(images / f"{name}.png")
        if defect:
            masks = folder / "ground_truth" / defect
            masks.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).convert("L").save(masks / f"{name}_mask.png")
