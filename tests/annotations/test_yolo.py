"""YOLO's segment files: outlines in shares of the image's sides, names of classes, and boxes that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.annotations.yolo import read_yolo

from .given import HEIGHT, SQUARE, WIDTH, drawn, square, written

LINE = " ".join(str(place / side) for place, side in zip(SQUARE, [WIDTH, HEIGHT] * 4, strict=True))


def test_each_line_is_an_outline_and_its_class_has_the_name_that_the_list_of_classes_gives(tmp_path: Path) -> None:
    written(tmp_path / "train/a.txt", f"0 {LINE}\n\n3 {LINE}\n")
    written(tmp_path / "train/empty.txt", "")
    written(tmp_path / "classes.txt", "scratch\ndent\n")
    found = read_yolo(tmp_path)
    assert [one.names for one in found.annotated] == [("train/a",), ("train/empty",)] and found.without_ending
    assert list(found.labels()) == ["scratch", "3"] and (drawn(found) == square()).all()
    assert found.annotated[1].marks == [] and found.annotated[0].size is None


@pytest.mark.parametrize("names", ["[scratch, dent]", "{0: scratch, 1: dent}", "\n  0: scratch\n  1: ' dent'"])
def test_names_of_classes_stand_in_what_training_with_yolo_reads(tmp_path: Path, names: str) -> None:
    written(tmp_path / "labels/a.txt", f"1 {LINE}\n7 {LINE}\n")
    written(tmp_path / "data.yaml", f"path: ../parts\nnames: {names}\n")
    assert list(read_yolo(tmp_path).labels()) == ["dent", "7"]
    written(tmp_path / "classes.txt", "scratch\ndent\n")
    assert list(read_yolo(tmp_path).labels()) == ["dent", "7"]
    written(tmp_path / "classes.txt", "dent\nscratch\n")
    with pytest.raises(UserError, match=r"data\.yaml: it names the classes otherwise than .*classes\.txt"):
        read_yolo(tmp_path)


@pytest.mark.parametrize(
    "text", ["names: 3", "a: [", "- names", "names: [1]", "names: {a: b}", "x: !!python/name:a", ""]
)
def test_a_list_of_names_that_is_none_is_one_plain_error(tmp_path: Path, text: str) -> None:
    written(tmp_path / "data.yaml", text)
    with pytest.raises(UserError, match=r"no YAML|no names of classes") as caught:
        read_yolo(tmp_path)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0 0.5 0.5 0.2 0.2", "four numbers, as boxes have"),
        ("x 0.1 0.1 0.2 0.2 0.3 0.3", "'x' is no number of a class"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.99", "no pairs of numbers"),
        ("0 0.1 0.1 0.2 0.2 0.3 x", "no pairs of numbers"),
        ("0 0.1 0.1 0.2 0.2 0.3 nan", "no pairs of numbers"),
        ("0 10 10 20 20 30 30", "not between 0 and 1"),
        ("0 0.1 0.1 0.2 0.2 0.3 -inf", "not between 0 and 1"),
    ],
)
def test_what_is_no_outline_is_a_fault_of_its_image(tmp_path: Path, line: str, problem: str) -> None:
    written(tmp_path / "a.txt", f"0 {LINE}\n{line}\n")
    (fault,) = read_yolo(tmp_path).annotated[0].faults
    assert problem in str(fault) and "a.txt, line 2" in str(fault) and fault.fix


def test_a_class_alone_marks_nothing(tmp_path: Path) -> None:
    written(tmp_path / "a.txt", "0\n")
    assert not drawn(read_yolo(tmp_path)).any()
