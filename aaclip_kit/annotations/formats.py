"""Whose format a file of annotations is in, and the reader of each."""

from pathlib import Path
from typing import Final

from ..contracts.errors import UserError
from ..files.plain_file import read_any_json
from .annotated import Annotations
from .coco import read_coco
from .cvat import read_cvat
from .label_studio import read_label_studio
from .labelme import read_labelme
from .named_images import search_files
from .yolo import read_yolo

_FIX: Final = (
    "name COCO's or Label Studio's JSON, a JSON file of LabelMe's or the folder of them, CVAT's zip with labelmap.txt, "
    "or the folder of YOLO's segment files"
)


def read_annotations(place: Path) -> Annotations:
    """What a file or a folder of files says, in whichever format it is by what it holds.

    Raises `UserError` for one that is missing, in none of the formats, damaged, or names no image.
    """
    found = _read(place)
    if not (found.annotated or found.faults):
        raise UserError("names no image", where=str(place), fix=_FIX)
    return found


def _read(place: Path) -> Annotations:
    if place.is_dir():
        return _read_folder(place)
    if place.suffix.lower() == ".zip":
        return read_cvat(place)
    if place.suffix.lower() == ".txt":
        raise UserError("is one of YOLO's texts", where=str(place), fix="name the folder that holds all of them")
    content = read_any_json(place, fix=_FIX)
    if isinstance(content, list):
        return read_label_studio(place, content)
    if isinstance(content, dict) and "shapes" in content:
        return read_labelme(place)
    if isinstance(content, dict) and "annotations" in content:
        return read_coco(place, content)
    raise UserError("is in no format of annotations that is read", where=str(place), fix=_FIX)


def _read_folder(folder: Path) -> Annotations:
    json, text = (search_files(folder, ending) for ending in (".json", ".txt"))
    if json and text:
        problem = f"holds both JSON files and texts, such as {json[0]} and {text[0]}"
        raise UserError(problem, where=str(folder), fix="put LabelMe's or YOLO's files into a folder of their own")
    return read_labelme(folder) if json else read_yolo(folder)
