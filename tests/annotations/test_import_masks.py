"""From a file of annotations to a data set: what is written, what must be decided, and what is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aaclip_kit_plugins.manifest import ManifestOptions, read_manifest
from PIL import Image

from aaclip_kit import UserError
from aaclip_kit.annotations.decisions import Annotators, Crowds, Nothing
from aaclip_kit.annotations.import_masks import ONLY_IGNORED, TURNED
from aaclip_kit.annotations.masks import ANOMALOUS, IGNORED, NO_PIXEL
from aaclip_kit.data.scan import scan_dataset

from ..limits import files_of_at_most
from .given import (
    SCRATCH,
    SIZE,
    SQUARE,
    coco,
    coloured,
    cvat,
    images,
    imported,
    labelme,
    mask_in,
    result,
    shape,
    square,
    task,
    written,
)
from .test_label_studio import BOX
from .test_yolo import LINE

OTHER = [7, 0, 12, 0, 12, 5, 7, 5]


def refused(place: Path, folder: Path, content: Any, **more: Any) -> tuple[UserError, ...]:
    """The faults for which nothing is written."""
    with pytest.raises(UserError) as caught:
        imported(place, folder, content, **more)
    assert not (place / "out").exists() and not [path for path in place.iterdir() if path.name.endswith(".part")]
    assert all(fault.fix for fault in caught.value.faults)
    return caught.value.faults


def in_format(name: str, place: Path) -> Any:
    """One square on x/a.png, in each of the formats."""
    if name == "coco":
        return coco([SQUARE], names=["x/a.png"])
    if name == "labelme":
        return labelme(shape([[2, 3], [6, 8]], "rectangle"), name="x/a.png")
    if name == "label studio":
        return [task([result("rectanglelabels", BOX)])]
    if name == "cvat":
        return cvat(place / "m.zip", {"x/a": coloured((square(), SCRATCH))})
    return written(place / "labels/x/a.txt", f"0 {LINE}").parents[1]


@pytest.mark.parametrize("name", ["coco", "labelme", "label studio", "cvat", "yolo"])
def test_what_is_written_of_each_format_is_a_data_set_without_a_fault(tmp_path: Path, name: str) -> None:
    folder = images(tmp_path / "photos", "x/a.png", "b.png")
    made, rows = imported(tmp_path, folder, in_format(name, tmp_path), unannotated=Nothing.normal)
    assert rows == [
        {"image_path": "images/b.png", "label": 0, "class_name": "lid"},
        {"image_path": "images/x/a.png", "label": 1, "class_name": "lid", "mask_path": "masks/x/a.png.png"},
    ]
    assert (mask_in(tmp_path / "out", rows[1]) == square() * ANOMALOUS).all()
    assert (tmp_path / "out/images/x/a.png").read_bytes() == (folder / "x/a.png").read_bytes()
    assert (made.anomalous, made.normal, made.skipped) == (1, 1, [])
    shutil.rmtree(folder)
    data = read_manifest(ManifestOptions(manifest=tmp_path / "out/list.jsonl"))
    assert not data.faults and [sample.label for sample in data.samples] == [0, 1]
    assert not scan_dataset(data).faults


def test_everything_that_must_be_decided_is_asked_at_once(tmp_path: Path) -> None:
    folder = images(tmp_path / "photos", "a.png", "b.png", "c.png")
    content = coco([SQUARE], names=["a.png", "b.png", "a.png"], iscrowd=1)
    faults = refused(tmp_path, folder, content, class_name=None, defects=("scrach",), ignored=("dust",))
    asked = [fault.where for fault in faults]
    assert asked == ["--defect", "--ignore", "--class", "--empty", "--unannotated", "--annotators"]
    assert faults[0].fix == "did you mean 'scratch'? known: scratch"
    asked = [fault.where for fault in refused(tmp_path, folder, content)]
    assert asked == ["--empty", "--unannotated", "--crowds", "--annotators"]


@pytest.mark.parametrize(("empty", "unannotated"), [("normal", "skip"), ("skip", "normal"), ("normal", "normal")])
def test_images_with_nothing_marked_and_without_annotation_are_what_is_said(
    tmp_path: Path, empty: str, unannotated: str
) -> None:
    folder = images(tmp_path / "photos", "a.png", "b.png", "c.png")
    told: dict[str, Any] = {"empty": Nothing(empty), "unannotated": Nothing(unannotated)}
    made, rows = imported(tmp_path, folder, coco([SQUARE], names=["a.png", "b.png"]), **told)
    kept = ["a"] + ["b"] * (empty == "normal") + ["c"] * (unannotated == "normal")
    assert [Path(row["image_path"]).stem for row in rows] == kept and made.normal == len(kept) - 1
    said = "\n".join(made.tally.lines())
    assert f"as --empty says; the first is {folder / 'b.png'}" in said
    assert f"as --unannotated says; the first is {folder / 'c.png'}" in said


@pytest.mark.parametrize(("crowds", "value", "ignore"), [("anomalous", ANOMALOUS, False), ("ignore", IGNORED, True)])
def test_a_crowd_is_anomalous_or_left_out_of_all_figures(tmp_path: Path, crowds: str, value: int, ignore: bool) -> None:
    content = coco([SQUARE], iscrowd=1)
    content["annotations"] += coco([OTHER])["annotations"]
    _, (row,) = imported(tmp_path, images(tmp_path / "photos"), content, crowds=Crowds(crowds))
    mask = mask_in(tmp_path / "out", row)
    assert mask[5, 3] == value and mask[2, 9] == ANOMALOUS and (row.get("ignore") == IGNORED) is ignore
    (sample,) = read_manifest(ManifestOptions(manifest=tmp_path / "out/list.jsonl")).samples
    assert sample.ignore == row.get("ignore")


def test_labels_are_defects_ignored_or_nothing_as_is_said(tmp_path: Path) -> None:
    content = coco([SQUARE], [OTHER], [[0, 8, 2, 8, 2, 10, 0, 10]])
    content["categories"].append({"id": 3, "name": "part"})
    for number in (1, 2):
        content["annotations"][number]["category_id"] = number + 1
    told: dict[str, Any] = {"defects": ("scratch",), "ignored": ("dent",)}
    made, (row,) = imported(tmp_path, images(tmp_path / "photos"), content, **told)
    mask = mask_in(tmp_path / "out", row)
    assert (mask[5, 3], mask[2, 9], mask[9, 1]) == (ANOMALOUS, IGNORED, 0)
    assert dict(made.labels) == {"scratch": 1, "dent": 1, "part": 1}


def test_an_image_with_marks_of_no_defect_has_nothing_marked_and_one_of_doubts_alone_is_left_out(
    tmp_path: Path,
) -> None:
    content = coco([SQUARE], names=["a.png", "b.png"])
    content["annotations"].append({**content["annotations"][0], "image_id": 1, "category_id": 2})
    folder = images(tmp_path / "photos", "a.png", "b.png")
    (fault,) = refused(tmp_path, folder, content, defects=("scratch",))
    assert fault.where == "--empty"
    made, rows = imported(tmp_path, folder, content, ignored=("dent",))
    assert [row["image_path"] for row in rows] == ["images/a.png"]
    assert made.tally.lines() == [f"1 {ONLY_IGNORED}; the first is {folder / 'b.png'}"]


@pytest.mark.parametrize(("whose", "rows"), [("any", slice(3, 8)), ("all", slice(3, 5))])
def test_of_two_annotators_what_any_or_all_marked_counts(tmp_path: Path, whose: str, rows: slice) -> None:
    half = {**BOX, "height": 20}
    content = [task([result("rectanglelabels", BOX)], [result("rectanglelabels", half)])]
    told: dict[str, Any] = {"annotators": Annotators(whose)}
    made, (row,) = imported(tmp_path, images(tmp_path / "photos"), content, **told)
    expected = np.zeros(SIZE[::-1], bool)
    expected[rows, 2:6] = True
    assert (mask_in(tmp_path / "out", row) == expected * ANOMALOUS).all()
    assert f"what {whose} marked counts" in made.tally.lines()[-1]


def test_an_image_on_which_annotators_agree_on_no_pixel_is_refused(tmp_path: Path) -> None:
    content = [task([result("rectanglelabels", BOX)], [])]
    (fault,) = refused(tmp_path, images(tmp_path / "photos"), content, annotators=Annotators.all)
    assert fault.problem == "of what is marked on it no pixel is left on which all annotators agree"


def test_marks_of_two_points_are_told_of_and_an_image_with_nothing_else_is_refused(tmp_path: Path) -> None:
    folder, line = images(tmp_path / "photos"), [[1, 1, 5, 5]]
    (fault,) = refused(tmp_path, folder, coco(line))
    assert fault.problem == "of what is marked on it no pixel is left" and "a.png" in (fault.where or "")
    made, _ = imported(tmp_path, folder, coco([SQUARE], line))
    first = f"{tmp_path / 'annotations.json'}, annotations[1]"
    assert made.tally.lines() == [f"1 {NO_PIXEL}; the first is {first}"]


@pytest.mark.parametrize(
    ("size", "said"), [((24, 20), "the images that were annotated"), (SIZE[::-1], "turned by its EXIF tag")]
)
def test_an_image_of_another_size_than_is_stated_is_refused(tmp_path: Path, size: tuple[int, int], said: str) -> None:
    folder = images(tmp_path / "photos", size=size)
    (fault,) = refused(tmp_path, folder, coco([SQUARE]))
    assert fault.problem == f"it is of an image of 12 x 10 pixels, and the image has {size[0]} x {size[1]}"
    assert said in (fault.fix or "")


def test_an_image_that_its_tag_turns_is_told_of(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", SIZE[::-1]).save(folder / "a.png", exif=turned)
    made, (row,) = imported(tmp_path, folder, coco([SQUARE]))
    assert made.tally.lines() == [f"1 {TURNED}; the first is {folder / 'a.png'}"]
    assert mask_in(tmp_path / "out", row).shape == SIZE[::-1]


def bad_images(place: Path) -> tuple[Path, dict[str, Any]]:
    """One sound image; one that is missing, one that is damaged, one with a box alone."""
    folder = images(place / "photos", "a.png", "broken.png", "box.png")
    (folder / "broken.png").write_bytes(b"no image")
    content = coco([SQUARE], names=["a.png", "missing.png", "broken.png", "box.png"])
    for number in (2, 3):
        content["annotations"].append({**content["annotations"][0], "image_id": number})
    content["annotations"][-1] |= {"segmentation": [], "bbox": [1, 1, 5, 5]}
    return folder, content


def test_bad_images_are_refused_together_or_left_out(tmp_path: Path) -> None:
    folder, content = bad_images(tmp_path)
    told: dict[str, Any] = {"empty": Nothing.skip}
    problems = [fault.problem for fault in refused(tmp_path, folder, content, **told)]
    assert [problem[:20] for problem in problems] == [
        "there is no image 'm",
        "it has a box and no ",
        "cannot be read as an",
    ]
    made, rows = imported(tmp_path, folder, content, skip_bad=True, **told)
    assert [fault.problem for fault in made.skipped] == problems
    assert [row["image_path"] for row in rows] == ["images/a.png"]


def test_where_names_lead_to_no_image_those_without_annotation_are_not_taken_for_normal(tmp_path: Path) -> None:
    folder = images(tmp_path / "photos", "a.png", "renamed.png")
    told: dict[str, Any] = {"empty": Nothing.skip, "unannotated": Nothing.normal, "skip_bad": True}
    faults = refused(tmp_path, folder, coco([SQUARE], names=["a.png", "b.png"]), **told)
    assert [fault.where for fault in faults][-1] == "--unannotated" and len(faults) == 2


def test_the_class_is_the_folder_if_that_is_said(tmp_path: Path) -> None:
    folder = images(tmp_path / "photos", "metal_nut/new/a.png", "lid/a.png")
    content = coco([SQUARE], names=["lid/a.png"])
    told: dict[str, Any] = {"class_of_folder": True, "unannotated": Nothing.normal}
    _, rows = imported(tmp_path, folder, content, **told)
    assert [row["class_name"] for row in rows] == ["lid", "metal_nut"]
    images(folder, "b.png")
    shutil.rmtree(tmp_path / "out")
    (fault,) = refused(tmp_path, folder, content, **told)
    assert "lies in no folder below" in fault.problem


@pytest.mark.parametrize("name", ["", "none", "a\nb"])
def test_a_class_that_the_list_could_not_hold_is_refused(tmp_path: Path, name: str) -> None:
    (fault,) = refused(tmp_path, images(tmp_path / "photos"), coco([SQUARE]), class_name=name)
    assert fault.where == "--class"


def test_a_folder_that_is_there_is_not_overwritten_and_none_is_made_among_the_images(tmp_path: Path) -> None:
    folder = images(tmp_path / "photos")
    written(tmp_path / "out/mine.txt", "kept")
    with pytest.raises(UserError, match="is no empty folder"):
        imported(tmp_path, folder, coco([SQUARE]))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="lies in the folder of the images"):
        imported(folder, folder, coco([SQUARE]))


def test_nothing_is_half_written_where_the_disk_takes_no_more(tmp_path: Path) -> None:
    file = written(tmp_path / "coco.json", coco([SQUARE]))
    folder = images(tmp_path / "photos")
    with files_of_at_most(20):
        (fault,) = refused(tmp_path, folder, file)
    assert "cannot be written" in fault.problem


def test_where_a_second_name_is_not_allowed_the_image_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", forbidden)
    folder = images(tmp_path / "photos")
    imported(tmp_path, folder, coco([SQUARE]))
    assert (tmp_path / "out/images/a.png").read_bytes() == (folder / "a.png").read_bytes()


def test_where_no_image_is_left_nothing_is_written(tmp_path: Path) -> None:
    (fault,) = refused(tmp_path, images(tmp_path / "photos"), coco(), empty=Nothing.skip)
    assert fault.problem == "no image is left"


def test_marks_that_cover_an_image_thousands_of_times_are_refused(tmp_path: Path) -> None:
    everything = [[0, 0, 12, 0, 12, 10, 0, 10]]
    (fault,) = refused(tmp_path, images(tmp_path / "photos"), coco(*[everything] * 2_001))
    assert "covers more than a person draws" in fault.problem and "annotations[2000]" in (fault.where or "")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", "3", "in no format"),
        ("a.json", "{}", "in no format"),
        ("a.json", "[]", "names no image"),
        ("a.json", "[", "damaged"),
        ("a.xml", "<annotation/>", "damaged"),
        ("a.txt", "0 1 1", "one of YOLO's texts"),
        ("a.zip", "zip", "is no zip"),
        ("folder/a.png", "", "names no image"),
    ],
)
def test_a_file_in_no_format_is_one_plain_error(tmp_path: Path, name: str, content: str, problem: str) -> None:
    file = written(tmp_path / name, content)
    (fault,) = refused(tmp_path, images(tmp_path / "photos"), file.parent if name.startswith("folder") else file)
    assert problem in fault.problem


def test_a_folder_of_two_formats_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "labels/a.json", labelme())
    written(tmp_path / "labels/a.txt", LINE)
    (fault,) = refused(tmp_path, images(tmp_path / "photos"), tmp_path / "labels")
    assert "both JSON files and texts" in fault.problem
