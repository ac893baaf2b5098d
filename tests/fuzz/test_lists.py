"""Manifests, lists and folders of any content: a data set with its faults, or one plain error."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from aaclip_kit_plugins.folder import FolderOptions, read_folder
from aaclip_kit_plugins.manifest import ManifestOptions, read_manifest
from hypothesis import given
from hypothesis import strategies as st

from aaclip_kit import DataSet, UserError
from aaclip_kit.data.checks import remarks, unshowable
from aaclip_kit.data.manifests import list_images
from aaclip_kit.data.scan import scan_dataset

from .build import CSV, LINES, ROW
from .cases import NUMBERS, TEXTS, VALUES, damaged, file_of, fuzzed, result_of


def outcome(content: bytes, name: str) -> Any:
    with file_of(content, name) as path:
        listed = result_of(list_images, [path])
        if not isinstance(listed, UserError):
            assert all(item.image.resolve().is_relative_to(path.parent.resolve()) for item in listed[0])
            assert all(item.class_name is None or item.class_name.strip() == item.class_name for item in listed[0])
        found = result_of(read_manifest, ManifestOptions(manifest=path))
        if isinstance(found, DataSet):
            root = path.parent.resolve()
            assert all(sample.image.resolve().is_relative_to(root) for sample in found.samples)
            assert all(sample.class_name.isprintable() for sample in found.samples)
            result_of(surveyed, found)
        return found


def surveyed(data: DataSet) -> None:
    """What a run does with a data set before anything else."""
    found = scan_dataset(data)
    for fault in found.faults:
        str(fault).encode()
    if not unshowable(found.data, "data.test"):
        found.fingerprint()
        remarks(found)


@pytest.mark.parametrize(("content", "name", "faults"), [(LINES, "rows.jsonl", 2), (CSV, "rows.csv", 1)])
def test_of_what_is_whole_the_sound_row_is_read(content: bytes, name: str, faults: int) -> None:
    """The others name a mask that is not there, an image again, and a class that cannot be shown."""
    found = outcome(content, name)
    assert [sample.image.name for sample in found.samples] == [name] and len(found.faults) == faults


@given(damaged([LINES]))
@fuzzed()
def test_damaged_json_lines(content: bytes) -> None:
    outcome(content, "rows.jsonl")


@given(
    st.lists(
        st.one_of(VALUES, st.fixed_dictionaries({}, optional=dict.fromkeys([*ROW, "mask_path"], VALUES))), max_size=5
    )
)
@fuzzed()
def test_json_lines_of_any_values(rows: list[Any]) -> None:
    whole = [{**ROW, **row} if isinstance(row, dict) else row for row in rows]
    outcome("".join(json.dumps(row) + "\n" for row in [*rows, *whole]).encode(), "rows.jsonl")


CELLS = st.dictionaries(st.sampled_from([*ROW, "mask_path"]), st.one_of(TEXTS, NUMBERS), min_size=1, max_size=1)


@given(st.lists(CELLS, min_size=1, max_size=5))
@fuzzed()
def test_json_lines_with_one_cell_of_any_text(cells: list[dict[str, Any]]) -> None:
    outcome("".join(json.dumps({**ROW, **cell}) + "\n" for cell in cells).encode(), "rows.jsonl")


@given(damaged([CSV]))
@fuzzed()
def test_damaged_csv(content: bytes) -> None:
    outcome(content, "rows.csv")


TABLES = [
    CSV.replace(b",", mark).decode().encode(coding) for mark in (b";", b"\t") for coding in ("utf-8-sig", "utf-16")
]


@given(damaged(TABLES))
@fuzzed()
def test_damaged_tables_of_spreadsheets(content: bytes) -> None:
    outcome(content, "rows.csv")


@given(st.lists(st.dictionaries(st.sampled_from([*ROW, "mask_path"]), TEXTS), max_size=5), st.sampled_from(",;\t"))
@fuzzed()
def test_tables_with_cells_of_any_text(rows: list[dict[str, str]], mark: str) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*ROW, "mask_path"], delimiter=mark)
    writer.writeheader()
    writer.writerows({**ROW, **row} for row in rows)
    outcome(text.getvalue().encode(errors="surrogatepass"), "rows.csv")


NAMES = st.one_of(
    st.binary(min_size=1, max_size=20),
    TEXTS.map(lambda text: text.encode(errors="surrogatepass")),
    st.sampled_from([b"good", b"test", b"ground_truth", b"a.png", b"a_mask.png", b"a.json", b"scores.jsonl", b"masks"]),
).filter(lambda name: 0 < len(name) < 200 and b"/" not in name and b"\0" not in name and name not in (b".", b".."))


@given(
    st.lists(st.tuples(NAMES, NAMES, NAMES, st.sampled_from([b"", b".png", b".JPG", b".xml"])), min_size=1, max_size=4)
)
@fuzzed(0.5)
def test_folders_and_files_of_any_name(places: list[tuple[bytes, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for class_name, defect, stem, suffix in places:
            for image in (b"test/" + defect, b"test/good"):
                path = os.path.join(os.fsencode(folder), class_name, image)  # noqa: PTH118 - bytes
                os.makedirs(path, exist_ok=True)  # noqa: PTH103
                with open(os.path.join(path, stem + suffix), "wb") as file:  # noqa: PTH118, PTH123
                    file.write(b"no image, but an <annotation>")
        result_of(list_images, [Path(folder)])
        found = result_of(read_folder, FolderOptions(root=Path(folder)))
        if not isinstance(found, UserError):
            result_of(surveyed, found)
