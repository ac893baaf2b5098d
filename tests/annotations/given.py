"""Small files in each program's format, written by hand, and the mask that comes of them."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from aaclip_kit.annotations.annotated import Annotations
from aaclip_kit.annotations.decisions import Decisions
from aaclip_kit.annotations.import_masks import LIST, Imported, import_masks

WIDTH, HEIGHT = 12, 10
SIZE = (WIDTH, HEIGHT)
SQUARE = [2.0, 3.0, 6.0, 3.0, 6.0, 8.0, 2.0, 8.0]
"""The corners of columns 2 to 5 and rows 3 to 7."""


def square() -> np.ndarray:
    """The mask of `SQUARE`."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:8, 2:6] = True
    return mask


def images(folder: Path, *names: str, size: tuple[int, int] = SIZE) -> Path:
    """A folder with a grey image of each name."""
    for number, name in enumerate(names or ("a.png",)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (100 + number, 90, 80)).save(folder / name)
    return folder


def written(path: Path, content: Any) -> Path:
    """A file with this text, or this as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def coco(*segmentations: Any, names: Sequence[str] = ("a.png",), **more: Any) -> dict[str, Any]:
    """COCO's JSON: these marks on the first of the images; `more` are keys of each annotation."""
    return {
        "images": [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT} for number, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "scratch"}, {"id": 2, "name": "dent"}],
        "annotations": [
            {"id": 10 + number, "image_id": 0, "category_id": 1, "segmentation": segmentation, **more}
            for number, segmentation in enumerate(segmentations)
        ],
    }


def runs(mask: np.ndarray) -> list[int]:
    """COCO's lengths of a mask, by a loop over its pixels."""
    counts, last = [0], False
    for value in mask.T.ravel().tolist():
        if value is not last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return counts


def coco_text(counts: Sequence[int]) -> str:
    """COCO's text of these lengths."""
    letters = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            digit, value = value & 31, value >> 5
            is_last = value == (-1 if digit & 16 else 0)
            letters.append(chr(48 + digit + (0 if is_last else 32)))
            if is_last:
                break
    return "".join(letters)


def brush(values: Sequence[int], blocks: Sequence[int], lengths: Sequence[int] = (3, 4, 8, 16)) -> list[int]:
    """Label Studio's RLE of these values: those that are alike as repeated ones, in blocks of at most these lengths."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{length - 1:04b}" for length in lengths)
    start, turn = 0, 0
    while start < len(values):
        end = min(start + blocks[turn % len(blocks)], len(values))
        turn += 1
        block, start = values[start:end], end
        is_repeated = len(set(block)) == 1
        kind = next(number for number, length in enumerate(lengths) if len(block) <= 1 << length)
        bits += f"{int(is_repeated)}{kind:02b}" + format(len(block) - 1, f"0{lengths[kind]}b")
        bits += "".join(f"{value:08b}" for value in (block[:1] if is_repeated else block))
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def brush_of(mask: np.ndarray) -> list[int]:
    """The RLE of a mask, as Label Studio's canvas has it: four values a pixel."""
    return brush(np.repeat(mask.astype(int).ravel() * 255, 4).tolist(), [64])


def labelme(*shapes: Mapping[str, Any], name: str = "a.png") -> dict[str, Any]:
    """A file of LabelMe's."""
    return {
        "version": "5.4.1", "flags": {}, "imagePath": name, "imageData": None,
        "imageWidth": WIDTH, "imageHeight": HEIGHT, "shapes": list(shapes),
    }  # fmt: skip


def shape(points: Sequence[Sequence[float]], kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    """One of its shapes."""
    return {"label": "scratch", "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def base64_png(mask: np.ndarray) -> str:
    """A mask as LabelMe writes it into its files."""
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def bitmask(shown: np.ndarray) -> dict[str, str]:
    """A mask as Label Studio writes it: black where it marks, and nothing elsewhere."""
    channels = np.zeros((*shown.shape, 4), np.uint8)
    channels[..., 3] = shown * 255
    return {"imageDataURL": f"data:image/png;base64,{base64_png(channels)}"}


def result(kind: str, value: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One of Label Studio's results."""
    labels = {kind: ["scratch"]} if kind.endswith("labels") else {}
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {
        "id": "r1",
        "type": kind,
        "from_name": "tag",
        "to_name": "img",
        "value": {**labels, **value},
        **size,
        **more,
    }


def task(*annotations: Sequence[Any], image: str = "/data/upload/1/0123abcd-a.png", **more: Any) -> dict[str, Any]:
    """One of its tasks, with the results of each annotator."""
    done = [{"id": number, "completed_by": number, "result": list(of)} for number, of in enumerate(annotations)]
    return {"id": 7, "data": {"image": image}, "annotations": done, "predictions": [], **more}


PathOrBuffer = TypeVar("PathOrBuffer", Path, io.BytesIO)
LABELS = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nscratch:250,50,83::\na:dent:10,20,30::\n"
SCRATCH, DENT = (250, 50, 83), (10, 20, 30)


def coloured(*parts: tuple[np.ndarray, tuple[int, int, int]]) -> bytes:
    """A mask in colours, as a PNG."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for mask, colour in parts:
        pixels[mask] = colour
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def cvat(
    path: PathOrBuffer, masks: Mapping[str, bytes], *, labels: str = LABELS, listed: str = "", below: str = ""
) -> PathOrBuffer:
    """CVAT's zip with these masks, by name without the ending."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{below}labelmap.txt", labels)
        archive.writestr(f"{below}ImageSets/Segmentation/default.txt", listed)
        for name, content in masks.items():
            archive.writestr(f"{below}SegmentationClass/{name}.png", content)
            archive.writestr(f"{below}SegmentationObject/{name}.png", content)
    return path


def drawn(found: Annotations, number: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The pixels that one annotator has marked on one image."""
    one = found.annotated[number]
    assert not found.faults and not one.faults and one.marks is not None
    mask = np.zeros(size[::-1], bool)
    for mark in one.marks:
        top, left, marked, _ = mark.draw(*size)
        mask[top : top + marked.shape[0], left : left + marked.shape[1]] |= marked
    return mask


def imported(
    place: Path, folder: Path, content: Any, *, skip_bad: bool = False, **decisions: Any
) -> tuple[Imported, list[dict[str, Any]]]:
    """What importing this makes, and the rows of the list; the class is "lid" where no other is said."""
    file = written(place / "annotations.json", content) if not isinstance(content, Path) else content
    told = decisions if "class_of_folder" in decisions else {"class_name": "lid", **decisions}
    made = import_masks(file, folder, place / "out", Decisions(**told), skip_bad=skip_bad)
    lines = (place / "out" / LIST).read_text().splitlines()
    return made, [json.loads(line) for line in lines]


def mask_in(out: Path, row: Mapping[str, Any]) -> np.ndarray:
    """The values of a row's mask."""
    return np.asarray(Image.open(out / row["mask_path"]))
