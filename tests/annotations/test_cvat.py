"""CVAT's zip: the label of each colour, images without a mask, and zips that are something else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from aaclip_kit import UserError
from aaclip_kit.annotations import cvat as module
from aaclip_kit.annotations.cvat import read_cvat

from ..hostile.given import within
from .given import DENT, SCRATCH, SIZE, coloured, cvat, drawn, square


@pytest.mark.parametrize("below", ["", "task/"])
def test_each_colour_is_a_mark_of_its_label_and_what_is_listed_without_a_mask_has_none(
    tmp_path: Path, below: str
) -> None:
    masks = {"x/a": coloured((square(), SCRATCH), (~square(), DENT)), "b.v1": coloured()}
    found = read_cvat(cvat(tmp_path / "m.zip", masks, listed="x/a\nb.v1\nc\n", below=below))
    marks = {one.names[0]: [mark.label for mark in one.marks or ()] for one in found.annotated}
    assert marks == {"x/a": ["a:dent", "scratch"], "b.v1": [], "c": []}
    assert found.without_ending and found.annotated[0].size == SIZE and drawn(found).all()
    (scratch,) = [mark for mark in found.annotated[0].marks or () if mark.label == "scratch"]
    assert (scratch.draw(*SIZE).marked == square()).all()


def test_a_background_of_another_colour_is_no_mark(tmp_path: Path) -> None:
    labels = "background:0,128,0::\nscratch:250,50,83::\n"
    mask = coloured((np.ones(SIZE[::-1], bool), (0, 128, 0)), (square(), SCRATCH))
    assert (drawn(read_cvat(cvat(tmp_path / "m.zip", {"a": mask}, labels=labels))) == square()).all()


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (coloured((square(), (1, 2, 3))), "no label of the colour #010203"),
        (b"no image", "cannot be read as an image"),
    ],
)
def test_a_mask_that_cannot_be_used_is_a_fault_of_its_image(tmp_path: Path, mask: bytes, problem: str) -> None:
    (fault,) = read_cvat(cvat(tmp_path / "m.zip", {"a": mask})).annotated[0].faults
    assert problem in str(fault) and "m.zip: SegmentationClass/a.png" in str(fault)


@pytest.mark.parametrize("labels", ["scratch", "scratch:1,2::", "scratch:1,2,300::", "scratch:1,2,x::"])
def test_a_table_of_labels_that_names_no_colour_is_one_plain_error(tmp_path: Path, labels: str) -> None:
    with pytest.raises(UserError, match=r"labelmap\.txt, line 1"):
        read_cvat(cvat(tmp_path / "m.zip", {}, labels=labels))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\5\6" + bytes(18), b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_zip_of_cvats_is_one_plain_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.zip").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_cvat(tmp_path / "m.zip")
    assert "m.zip" in str(caught.value) and "Segmentation mask 1.1" in str(caught.value)


def test_a_mask_that_unpacks_without_end_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._LARGEST, ".png", 1000)
    with within(60), pytest.raises(UserError, match=r"a\.png unpacks to too many bytes"):
        read_cvat(cvat(tmp_path / "m.zip", {"a": bytes(10**6)}))


def test_all_masks_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = coloured((square(), SCRATCH))
    path = cvat(tmp_path / "m.zip", dict.fromkeys("abcd", mask))
    monkeypatch.setattr(module, "_MOST_BYTES", path.stat().st_size)
    assert len(read_cvat(path).annotated) == 4
    monkeypatch.setattr(module, "_MOST_BYTES", max(3 * len(mask), 1))
    with pytest.raises(UserError, match=r"more than|too many bytes"):
        read_cvat(path)


def test_names_that_lead_elsewhere_are_read_as_names_alone(tmp_path: Path) -> None:
    path = cvat(tmp_path / "m.zip", {"../../x": coloured(), "/etc/y": coloured()})
    found = read_cvat(path)
    assert [one.names for one in found.annotated] == [("../../x",), ("etc/y",)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.zip"]


def test_a_zip_that_is_locked_is_one_plain_error(tmp_path: Path) -> None:
    path = cvat(tmp_path / "m.zip", {"a": coloured()})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("labelmap.txt").header_offset
    content[offset + 6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="password"):
        read_cvat(path)
