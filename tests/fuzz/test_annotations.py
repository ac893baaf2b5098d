"""Annotation files of any content: a data set without a fault, or one plain error, and nothing beside."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from aaclip_kit_plugins.manifest import ManifestOptions, read_manifest
from hypothesis import given
from hypothesis import strategies as st

from aaclip_kit import UserError
from aaclip_kit.annotations.decisions import Annotators, Crowds, Decisions, Nothing
from aaclip_kit.annotations.import_masks import LIST, import_masks

from ..annotations.given import (
    SCRATCH,
    SQUARE,
    brush_of,
    coco,
    coco_text,
    coloured,
    cvat,
    images,
    labelme,
    result,
    runs,
    shape,
    square,
    task,
)
from ..annotations.test_label_studio import BOX, CORNERS
from ..annotations.test_yolo import LINE
from .cases import TEXTS, VALUES, damaged, fuzzed, result_of

TOLD = Decisions(
    class_name="lid", empty=Nothing.normal, unannotated=Nothing.skip, crowds=Crowds.ignore, annotators=Annotators.any
)
RLE = {"size": [10, 12], "counts": coco_text(runs(square()))}
COCO = coco([SQUARE], RLE, {**RLE, "counts": runs(square())})
LABELME = labelme(shape([[2, 3], [6, 8]], "rectangle"), shape([[4, 4], [5, 6]], "circle"), shape(CORNERS))
STUDIO = [
    task(
        [result("polygonlabels", {"points": CORNERS}), result("rectanglelabels", {**BOX, "rotation": 10})],
        [result("brushlabels", {"format": "rle", "rle": brush_of(square())}), result("choices", {"choices": ["x"]})],
        image="a.png",
    )
]
YOLO = f"0 {LINE}\n1 {LINE}\n".encode()


def zipped() -> bytes:
    return cvat(io.BytesIO(), {"a": coloured((square(), SCRATCH))}, listed="a\n").getvalue()


def outcome(content: bytes, name: str, *, skip_bad: bool = False) -> Any:
    """What importing it makes; of a name in a folder, the folder is imported."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder, file, out = images(place / "photos", "a.png"), place / "given" / name, place / "new" / "out"
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        given_place = file.parent if file.suffix == ".txt" else file
        found = result_of(lambda: import_masks(given_place, folder, out, TOLD, skip_bad=skip_bad))
        assert [path.name for path in folder.iterdir()] == ["a.png"] and file.read_bytes() == content
        if isinstance(found, UserError):
            assert not list((place / "new").iterdir() if (place / "new").exists() else ())
        else:
            data = read_manifest(ManifestOptions(manifest=out / LIST))
            assert not data.faults and len(data.samples) == found.normal + found.anomalous > 0
            "\n".join(found.tally.lines()).encode(errors="surrogateescape")
        return found


WHOLES = {
    "coco.json": json.dumps(COCO).encode(),
    "labelme.json": json.dumps(LABELME).encode(),
    "studio.json": json.dumps(STUDIO).encode(),
    "a.txt": YOLO,
    "m.zip": zipped(),
}


@pytest.mark.parametrize("name", WHOLES)
def test_what_is_whole_is_imported(name: str) -> None:
    found = outcome(WHOLES[name], name)
    assert not isinstance(found, UserError) and (found.anomalous, found.normal) == (1, 0)


@pytest.mark.parametrize("name", WHOLES)
@given(st.data())
@fuzzed(0.4)
def test_damaged_files(name: str, data: st.DataObject) -> None:
    outcome(data.draw(damaged([WHOLES[name]])), name, skip_bad=data.draw(st.booleans()))


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """Every table or list in a value, with each of its keys or places."""
    if not isinstance(value, dict | list):
        return []
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
    return [(value, key) for key, _ in pairs] + [place for _, inner in pairs for place in places_in(inner)]


@pytest.mark.parametrize("name", [name for name in WHOLES if name.endswith(".json")])
@given(st.data())
@fuzzed(0.8)
def test_json_with_some_values_exchanged(name: str, data: st.DataObject) -> None:
    whole = json.loads(WHOLES[name])
    for _ in range(data.draw(st.integers(1, 3))):
        if places := places_in(whole):
            table, key = data.draw(st.sampled_from(places))
            table[key] = data.draw(VALUES)
    outcome(json.dumps(whole).encode(), name, skip_bad=data.draw(st.booleans()))


@given(VALUES)
@fuzzed(0.5)
def test_any_json(value: Any) -> None:
    outcome(json.dumps(value).encode(), "any.json")


CELLS = st.lists(st.one_of(st.integers().map(str), st.floats().map(str), TEXTS), max_size=8)


@given(st.lists(CELLS, max_size=3))
@fuzzed(0.5)
def test_texts_of_any_cells(lines: list[list[str]]) -> None:
    outcome("\n".join(map(" ".join, lines)).encode(errors="surrogatepass"), "a.txt", skip_bad=True)


# A zip holds what UTF-8 can say, and its names end at a NUL, where two would be one.
WRITABLE = TEXTS.map(lambda text: text.encode(errors="ignore").decode().replace("\0", ""))


@given(st.dictionaries(WRITABLE, st.sampled_from([b"", b"x"]), max_size=3), WRITABLE)
@fuzzed(0.5)
def test_zips_of_any_names(masks: dict[str, bytes], labels: str) -> None:
    mask = coloured((square(), SCRATCH))
    content = io.BytesIO()
    whole = {name: mask if sound else b"" for name, sound in masks.items()}
    cvat(content, {**whole, "a": mask}, labels=labels, listed=labels)
    outcome(content.getvalue(), "m.zip", skip_bad=True)
