"""From annotations to a data set: images, masks and a list, which data set `manifest` reads."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from PIL import Image

from ..contracts.errors import UserError, UserErrors, writing
from ..data.decode import open_picture
from ..data.image_file import orientation, read_content
from ..data.manifests import Row, write_manifest
from ..files.whole_file import whole_folder
from .annotated import Annotated, Annotations, Tally
from .decisions import Decisions, Nothing, is_empty, open_questions
from .formats import read_annotations
from .masks import ANOMALOUS, IGNORED, Mask, check_stated_size, mask_of
from .named_images import BY_END, NamedImages

LIST: Final = "list.jsonl"
TURNED: Final = "images are turned by an EXIF tag: what is marked on them is taken for drawn on the upright picture"
ONLY_IGNORED: Final = "images have nothing marked but what is to be ignored, and are left out"


@dataclass
class Imported:
    """What was made: counts of images, marks of each label, remarks, and what was left out."""

    program: str
    normal: int = 0
    anomalous: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    skipped: list[UserError] = field(default_factory=list)


def import_masks(
    place: Path,
    images: Path,
    out: Path,
    decisions: Decisions,
    *,
    skip_bad: bool = False,
    before_each: Callable[[], None] = lambda: None,
) -> Imported:
    """Read annotations, and write images, masks and their list into a new folder, which is there whole or not at all.

    `before_each` is called for each image; what it raises ends the work, and nothing is written.
    Raises `UserError` for what cannot be read, `UserErrors` with all decisions that are to be taken, and with all
    images that cannot be used, unless `skip_bad` leaves those out and something remains.
    """
    _check_target(out, images)
    found, folder = read_annotations(place), NamedImages(images)
    of, faults = _by_image(found, folder)
    bare = [image for image in folder.images if not of.get(image)]
    if questions := list(open_questions(found, {image: one for image, one in of.items() if one}, bare, decisions)):
        raise UserErrors(questions)
    if faults and bare and skip_bad and decisions.unannotated is Nothing.normal:
        fix = "say --unannotated skip, or mend the names"
        problem = f"{len(faults)} things in the file are of no image that is found, and may be of those not annotated"
        raise UserErrors([*faults, UserError(problem, where="--unannotated", fix=fix)])
    made = Imported(found.program, labels=Counter(found.labels()), tally=found.tally)
    with writing(out), whole_folder(out) as part:
        rows: list[Row] = []
        for image in folder.images:
            before_each()
            try:
                rows += _written(image, of.get(image, []), folder.folder, part, decisions, made)
            except UserError as fault:
                faults += fault.faults
        if faults and (not skip_bad or not rows):
            raise UserErrors(faults)
        if not rows:
            fix = "--empty normal and --unannotated normal keep images on which nothing is marked"
            raise UserError("no image is left", where=str(place), fix=fix)
        write_manifest(rows, part / LIST)
    made.skipped = faults
    return made


def _check_target(out: Path, images: Path) -> None:
    with writing(out):
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise UserError("exists already, and is no empty folder", where=str(out), fix="name another with --out")
    if out.resolve().is_relative_to(images.resolve()):
        fix = "name a folder outside of it with --out: what lies there would be taken for more images"
        raise UserError(f"lies in the folder of the images, {images}", where=str(out), fix=fix)


def _by_image(found: Annotations, folder: NamedImages) -> tuple[dict[Path, list[Annotated]], list[UserError]]:
    """What is said of each image that the file names, without who has not annotated it; and faults of names."""
    of: dict[Path, list[Annotated]] = {}
    faults = list(found.faults)
    for one in found.annotated:
        try:
            image, is_whole = folder.find(one.names, one.where, without_ending=found.without_ending)
        except UserError as fault:
            faults.append(fault)
            continue
        if not is_whole:
            found.tally.add(BY_END, f"{image} for {one.names[0]}")
        if one.marks is not None:
            of.setdefault(image, []).append(one)
    return of, faults


def _written(
    image: Path, of: list[Annotated], folder: Path, part: Path, decisions: Decisions, made: Imported
) -> Iterator[Row]:
    """The row of an image, once it and its mask are written; none where it is left out. Raises `UserError`."""
    if faults := [fault for one in of for fault in one.faults]:
        raise UserErrors(faults)
    mask = _mask(image, of, decisions, made.tally)
    if mask is None:
        return
    name = PurePosixPath(image.relative_to(folder).as_posix())
    row: dict[str, str | int] = {
        "image_path": (PurePosixPath("images") / name).as_posix(),
        "label": int(mask.any()),
        "class_name": decisions.class_of(image, folder),
    }
    _link(image, part / "images" / name)
    if mask.any():
        # Beside "a.jpg" there may be "a.png".
        row["mask_path"] = f"masks/{name}.png"
        _save(mask, part / "masks" / f"{name}.png")
        made.anomalous += 1
    else:
        made.normal += 1
    yield row | ({"ignore": IGNORED} if (mask == IGNORED).any() else {})


def _mask(image: Path, of: list[Annotated], decisions: Decisions, tally: Tally) -> Mask | None:
    """An image's mask, black where it is normal; None where it is left out. Raises `UserError`."""
    nothing = decisions.empty if of else decisions.unannotated
    if is_empty(of, decisions):
        tally.add(_NOTHING[bool(of), nothing is Nothing.normal], image)
        if nothing is Nothing.skip:
            return None
    content = read_content(image)
    size = open_picture(image, content).size
    for one in of:
        check_stated_size(one, size)
    if is_empty(of, decisions):
        return np.zeros((1, 1), np.uint8)
    if orientation(content) != 1:
        tally.add(TURNED, image)
    mask = mask_of(image, of, size, decisions, tally)
    if (mask == ANOMALOUS).any():
        return mask
    tally.add(ONLY_IGNORED, image)
    return None


_NOTHING: Final = {
    (True, True): "images on which nothing is marked count as normal, as --empty says",
    (True, False): "images on which nothing is marked are left out, as --empty says",
    (False, True): "images that are not annotated count as normal, as --unannotated says",
    (False, False): "images that are not annotated are left out, as --unannotated says",
}


def _link(image: Path, path: Path) -> None:
    """Give an image a second name, which takes no room, or copy it where the system does not let that be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        os.link(image.resolve(), path)
        return
    shutil.copyfile(image, path)


def _save(mask: Mask, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = BytesIO()
    Image.fromarray(mask).save(content, "PNG")
    path.write_bytes(content.getvalue())
