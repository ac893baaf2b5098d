"""`aakit data check` and `aakit data manifest`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from aaclip_kit.data.manifests import list_images

from ..command import Command, Ran
from ..conftest import write_class
from ..finding import forbidden, touch
from .conftest import assert_plain, contents


@pytest.fixture
def list_file(aakit: Command, place: Path, data: Path) -> Path:
    """A manifest of the drawn defects, beside them."""
    out = data / "list.jsonl"
    assert aakit("data", "manifest", data, "--out", out).code == 0
    return out


def checked(ran: Ran) -> dict[str, Any]:
    return json.loads(ran.out)


def test_an_experiment_is_checked_role_by_role(aakit: Command, place: Path, small_experiment: Path) -> None:
    ran = aakit("data", "check", small_experiment)
    assert (ran.code, ran.err) == (0, "")
    for said in ("train: own data, industrial, 8 images", "test: own data", "train: no faults", "test: no faults"):
        assert said in ran.out
    assert [line.split() for line in ran.out.splitlines() if line.startswith("red_cloth")] == [
        ["red_cloth", "red", "cloth", "4", "4", "4", "40", "x", "40", "spot", "4"]
    ]
    assert contents(place) == {}


def test_the_json_has_counts_sizes_masks_defects_and_faults(aakit: Command, small_experiment: Path, data: Path) -> None:
    Image.new("RGB", (50, 30)).save(data / "red_cloth/test/good/000.png")
    Image.new("L", (40, 40)).save(data / "red_cloth/ground_truth/spot/001_mask.png")
    ran = aakit("data", "check", small_experiment, "--set", f"data.train.root={data}", "--json")
    found = checked(ran)
    assert ran.code == 0
    assert found["faults"] == found["data"]["train"]["faults"] == []
    train = found["data"]["train"]
    assert (train["name"], train["domain"], train["count"], len(train["sha256"])) == (None, "industrial", 8, 64)
    assert train["classes"]["red_cloth"] == {
        "real_name": "red cloth",
        "normal": 4,
        "anomalous": 4,
        "masks": 4,
        "black_masks": 1,
        "defects": {"spot": 4},
        "sizes": [{"width": 50, "height": 30, "count": 1}, {"width": 40, "height": 40, "count": 7}],
    }
    (warning,) = train["warnings"]
    assert "mask that is all black" in warning


def test_faults_of_all_roles_and_between_them_are_shown_at_once(
    aakit: Command, place: Path, small_experiment: Path, data: Path
) -> None:
    shutil.copy(data / "red_cloth/test/good/000.png", data / "green_wood/test/good/zzz.png")
    (data / "red_cloth/test/good/001.png").write_text("no image")
    (data / "green_wood/test/good/001.png").write_text("no image")
    sets = ["--set", f"data.train.root={data}", "--set", f"data.test.root={data}"]
    ran = aakit("data", "check", small_experiment, *sets)
    assert_plain(ran, messages=3)
    assert "train: 1 fault\n" in ran.out
    assert "share 1 images by content" in ran.err
    as_json = aakit("data", "check", small_experiment, *sets, "--json")
    assert as_json.code == 2
    found = checked(as_json)
    assert [fault["where"] for fault in found["data"]["test"]["faults"]] == [str(data / "green_wood/test/good/001.png")]
    assert "share 1 images" in found["faults"][0]["problem"]


def test_only_ten_faults_are_shown_and_all_are_in_the_json(aakit: Command, place: Path, data: Path) -> None:
    bad = sorted(data.rglob("test/*/*.png"))
    for image in bad[:12]:
        image.write_text("no image")
    ran = aakit("data", "check", data)
    assert_plain(ran, messages=11)
    assert "and 2 more, 12 in all" in ran.err
    found = checked(aakit("data", "check", data, "--json"))["data"]["folder"]
    assert [fault["where"] for fault in found["faults"]] == [str(path) for path in bad[:12]]


def test_a_folder_a_manifest_and_a_public_layout(aakit: Command, place: Path, data: Path, list_file: Path) -> None:
    folder = checked(aakit("data", "check", data, "--json"))["data"]["folder"]
    listed = checked(aakit("data", "check", list_file, "--json"))["data"]["manifest"]
    assert folder["count"] == listed["count"] == 16
    assert folder["sha256"] == listed["sha256"], "the same images with the same labels"
    one = checked(aakit("data", "check", data, "--set", "classes=[red_cloth]", "--json"))["data"]["folder"]
    assert list(one["classes"]) == ["red_cloth"]
    (data / "red_cloth").rename(data / "screw")
    ran = aakit("data", "check", data, "--layout", "mvtec", "--set", "classes=[screw]")
    assert "mvtec: mvtec, industrial, 8 images" in ran.out
    refused = aakit("data", "check", data, "--layout", "mvtec")
    assert_plain(refused)
    assert "has no folder for bottle, cable" in refused.err


def test_bad_images_may_be_left_out_of_a_check(aakit: Command, place: Path, data: Path) -> None:
    bad = data / "red_cloth/test/good/001.png"
    bad.write_text("no image")
    ran = aakit("data", "check", data, "--set", "on_bad_image=skip")
    assert ran.code == 0
    assert f"warning    1 bad images are left out: {bad} (cannot be read as an image" in ran.out


@pytest.mark.parametrize(
    ("target", "more", "said"),
    [
        ("gone", [], "there is no such file or folder"),
        (".", [], "no class in this folder"),
        (".", ["--layout", "mvtek"], "did you mean 'mvtec'?"),
        (".", ["--set", "clases=[a]"], "did you mean 'classes'?"),
        (".", ["--set", "on_bad_imag=skip"], "did you mean 'on_bad_image'?"),
        ("gone.toml", [], "there is no such file"),
    ],
)
def test_a_target_that_cannot_be_checked(aakit: Command, place: Path, target: str, more: list[str], said: str) -> None:
    ran = aakit("data", "check", target, *more)
    assert_plain(ran)
    assert said in ran.err


# Manifests.


@pytest.mark.parametrize("name", ["list.jsonl", "list.csv"])
def test_a_written_manifest_runs_as_the_folder_does(aakit: Command, place: Path, data: Path, name: str) -> None:
    ran = aakit("data", "manifest", data, "--out", data / name)
    assert (ran.code, ran.out) == (0, f"wrote {data / name}: 16 images\n")
    found = checked(aakit("data", "check", data / name, "--json"))["data"]["manifest"]
    assert found["faults"] == found["warnings"] == []
    assert {name: (part["normal"], part["masks"]) for name, part in found["classes"].items()} == {
        "green_wood": (4, 4),
        "red_cloth": (4, 4),
    }


def test_a_manifest_elsewhere_says_where_its_paths_start(aakit: Command, place: Path, data: Path) -> None:
    ran = aakit("data", "manifest", data, "--out", "lists/list.csv", "--set", "classes=[red_cloth]")
    assert ran.out == f"wrote lists/list.csv: 8 images; its paths start from {data}\n"
    assert_plain(aakit("data", "check", "lists/list.csv", "--set", "shots={normal=1, anomalous=1}"), messages=8)
    assert aakit("data", "check", "lists/list.csv", "--set", f"root={data}").code == 0


def test_images_without_labels(aakit: Command, place: Path) -> None:
    for name in ("a.jpg", "below/b.png"):
        (place / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9)).save(place / name)
    ran = aakit("data", "manifest", ".", "--layout", "images", "--out", "list.jsonl")
    assert (ran.code, ran.err) == (0, "")
    rows = [json.loads(line) for line in (place / "list.jsonl").read_text().splitlines()]
    assert rows == [{"image_path": "a.jpg"}, {"image_path": "below/b.png"}]


def test_a_list_of_images_elsewhere_says_where_its_paths_start(aakit: Command, place: Path) -> None:
    (place / "images").mkdir()
    Image.new("RGB", (9, 9)).save(place / "images" / "a.png")
    ran = aakit("data", "manifest", "images", "--layout", "images", "--out", "lists/list.csv")
    assert ran.out == "wrote lists/list.csv: 1 images; its paths start from images\n"
    found, faults, _ = list_images([place / "lists" / "list.csv"], place / "images")
    assert [item.image for item in found] == [place / "images" / "a.png"]
    assert not faults


def test_a_list_says_what_it_leaves_out_and_stops_at_what_may_not_be_read(
    aakit: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(place, "a.png", "b.heic", "c/d.png")
    ran = aakit("data", "manifest", ".", "--layout", "images", "--out", "list.csv")
    assert ran.out == "passed over: 1 .heic (such as b.heic)\nwrote list.csv: 2 images\n"
    forbidden(monkeypatch, Path("c"))
    refused = aakit("data", "manifest", ".", "--layout", "images", "--out", "again.csv")
    assert_plain(refused)
    assert refused.err.startswith("error: c: cannot be read (Permission denied)")


def test_a_name_that_is_no_utf_8_leaves_no_empty_list(aakit: Command, place: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (9, 9)).save(place / name)
    ran = aakit("data", "manifest", ".", "--layout", "images", "--out", "list.csv")
    assert_plain(ran)
    assert r"error: caf\udce9.png: has a name that is no UTF-8" in ran.err and not (place / "list.csv").exists()
    assert aakit("data", "manifest", ".", "--layout", "images", "--out", "list.jsonl").code == 0
    assert [item.image for item in list_images([place / "list.jsonl"])[0]] == [place / name]


COCO = '{"images": [{"file_name": "000.png"}], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}'
ANNOTATIONS = {
    "COCO": ("annotations/instances.json", COCO),
    "LabelMe": ("red_cloth/test/spot/000.json", '{"version": "5", "shapes": []}'),
    "VOC": ("red_cloth/Annotations/000.xml", "<annotation><object/></annotation>"),
    "YOLO": ("red_cloth/test/spot/000.txt", "0 0.5 0.5 0.1 0.2\n"),
}


@pytest.mark.parametrize(("name", "text"), ANNOTATIONS.values(), ids=ANNOTATIONS)
def test_annotations_beside_images_without_masks_are_named(
    aakit: Command, data: Path, name: str, text: str, request: pytest.FixtureRequest
) -> None:
    shutil.rmtree(data / "red_cloth" / "ground_truth")
    (data / name).parent.mkdir(exist_ok=True)
    (data / name).write_text(text)
    (data / "notes.txt").write_text("nothing of the kind\n")
    (data / "package.json").write_text("{}")
    ran = aakit("data", "check", data, columns=1000)
    said = f"annotations beside images without masks are not read, such as {data / name} ({request.node.callspec.id})"
    assert ran.code == 0 and said in ran.out


def test_a_public_layout_is_listed(aakit: Command, place: Path) -> None:
    write_class(place, "screw", 0, seed=0)
    ran = aakit("data", "manifest", ".", "--layout", "mvtec", "--out", "list.csv", "--set", "classes=[screw]")
    assert ran.code == 0
    lines = (place / "list.csv").read_text().splitlines()
    assert lines[0] == "image_path,label,class_name,mask_path"
    assert lines[-1] == "screw/test/spot/003.png,1,screw,screw/ground_truth/spot/003_mask.png"


def test_nothing_is_overwritten_and_nothing_written_for_faulty_data(aakit: Command, place: Path, data: Path) -> None:
    (place / "list.csv").write_text("kept")
    ran = aakit("data", "manifest", data, "--out", "list.csv")
    assert_plain(ran)
    assert "list.csv: exists already" in ran.err
    (data / "red_cloth/ground_truth/spot/001_mask.png").unlink()
    ran = aakit("data", "manifest", data, "--out", "new.csv")
    assert_plain(ran)
    assert "an anomalous image has no mask" in ran.err
    assert contents(place) == {"list.csv": b"kept"}
    ran = aakit("data", "manifest", data, "--out", "new.csv", "--set", "on_bad_image=skip")
    assert ran.out.startswith(f"left out: {data / 'red_cloth/test/spot/001.png'}: an anomalous image has no mask\n")
    assert len((place / "new.csv").read_text().splitlines()) == 16


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone", "--out", "a.csv"], "there is no such file or folder"),
        (["gone", "--layout", "images", "--out", "a.csv"], "there is no such file or folder"),
        ([".", "--layout", "images", "--out", "a.csv"], "there is no image in this folder"),
        ([".", "--out", "a.txt"], "is no name for a manifest"),
        ([".", "--out", "a.csv"], "no class in this folder"),
    ],
)
def test_what_cannot_be_listed(aakit: Command, place: Path, arguments: list[str], said: str) -> None:
    ran = aakit("data", "manifest", *arguments)
    assert_plain(ran)
    assert said in ran.err
    assert contents(place) == {}
