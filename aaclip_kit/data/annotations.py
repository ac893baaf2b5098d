"""Annotation files beside images: boxes and outlines that no data set reads, and of which the user is told."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

_MOST_LOOKED_AT, _MOST_BYTES = 5, 16 << 20
"""Files of one ending in a folder, and bytes of each, that are searched for annotations."""

_MARKS = (
    (".json", re.compile(rb'"annotations"\s*:'), "COCO"),
    (".json", re.compile(rb'"(shapes|regions)"\s*:'), "LabelMe"),
    (".xml", re.compile(rb"<annotations?\b"), "VOC"),
    (".txt", re.compile(rb"\s*\d+([ \t]+[-\d.e]+){4,}\s*(\n|$)"), "YOLO"),
)
"""Ending, content and name of the formats in which boxes and outlines are drawn on images."""


def annotations(images: Sequence[Path]) -> list[str]:
    """A remark on such files beside images without masks, up to four folders above them."""
    places = dict.fromkeys(above for image in images for above in list(image.parents)[:4])
    found: dict[str, Path] = {}
    for place in places:
        with suppress(OSError):
            inner = [path for path in place.iterdir() if path.name.lower() in ("annotations", "labels", "json", "xml")]
            for folder in (place, *filter(Path.is_dir, inner)):
                for kind, file in _annotation_files(folder):
                    found.setdefault(kind, file)
    if not found:
        return []
    told = ", ".join(f"{path} ({kind})" for kind, path in found.items())
    how = "`aakit data import` makes masks of outlines; what in a box is anomalous, the box does not say"
    return [f"annotations beside images without masks are not read, such as {told}: {how}"]


def _annotation_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The first of a folder's files in each format; of an ending, a few are looked into."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for ending, mark, kind in _MARKS:
        for file in [path for path in files if path.suffix.lower() == ending][:_MOST_LOOKED_AT]:
            with file.open("rb") as content:
                head = content.read(_MOST_BYTES)
            if mark.match(head) if ending == ".txt" else mark.search(head):
                yield kind, file
                break
