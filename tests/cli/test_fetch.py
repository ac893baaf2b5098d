"""`aakit data fetch`: the licence first, a download that goes on, the checksum, the split, and nothing half-written."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from aaclip_kit.plugin_host.discovery import discover

from ..command import Command, Ran
from ..downloads.conftest import site
from ..downloads.server import Site
from .conftest import assert_plain, contents

__all__ = ["site"]

CLASSES = [
    *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1", "pcb2", "pcb3", "pcb4"),
    "pipe_fryum",
]


def picture(mode: str = "RGB", value: int = 90) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (8, 8), value).save(out, "PNG" if mode == "L" else "JPEG")
    return out.getvalue()


def visa() -> dict[str, bytes]:
    """Two normal images and a bad one of each class, as the publishers pack them; the first one is for training."""
    files, rows = dict[str, bytes](), [["object", "split", "label", "image", "mask"]]
    for name in CLASSES:
        data = f"{name}/Data"
        for number in range(2):
            files[f"{data}/Images/Normal/{number:03}.JPG"] = picture()
            rows.append([name, "test" if number else "train", "normal", f"{data}/Images/Normal/{number:03}.JPG", ""])
        files[f"{data}/Images/Anomaly/000.JPG"] = picture(value=200)
        files[f"{data}/Masks/Anomaly/000.png"] = picture("L", 255)
        rows.append([name, "test", "anomaly", f"{data}/Images/Anomaly/000.JPG", f"{data}/Masks/Anomaly/000.png"])
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return {**files, "split_csv/1cls.csv": text.getvalue().encode()}


def packed(files: dict[str, bytes], top: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def fetch(aakit: Command, site: Site, place: Path) -> Callable[..., Ran]:
    """Fetch visa from the site, its licence accepted."""
    site.content = packed(visa())

    def run(*arguments: object) -> Ran:
        digest = hashlib.sha256(site.content).hexdigest()
        given = ("--accept-licence", "--url", site.url, "--sha256", digest, "--out", place / "visa")
        return aakit("data", "fetch", "visa", *given, *arguments)

    return run


def test_a_data_set_is_fetched_with_its_split(fetch: Callable[..., Ran], place: Path, aakit: Command) -> None:
    ran = fetch()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.index("CC BY 4.0") < ran.out.index("sha256 ")
    assert "12 normal and 12 anomalous" in ran.out and "962 normal and 1200 anomalous in the published split" in ran.out
    assert [path.name for path in place.iterdir()] == ["visa"]
    assert json.loads((place / "visa" / "origin.json").read_text())["licence"] == "CC BY 4.0"
    lines = (place / "visa" / "1cls_train.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "image_path": "candle/Data/Images/Normal/000.JPG", "label": 0, "class_name": "candle",
    }  # fmt: skip
    assert len(lines) == 12 and len((place / "visa" / "1cls_test.jsonl").read_text().splitlines()) == 24
    checked = aakit("data", "check", place / "visa" / "1cls_test.jsonl", "--json")
    assert checked.code == 0 and json.loads(checked.out)["data"]["manifest"]["count"] == 24
    again = fetch()
    assert_plain(again)
    assert "is there already" in again.err


def test_the_licence_is_shown_and_nothing_asked_for_before_it_is_accepted(
    aakit: Command, site: Site, place: Path
) -> None:
    ran = aakit("data", "fetch", "visa", "--url", site.url, "--out", place / "visa")
    assert ran.code == 2 and "CC BY 4.0" in ran.out and "--accept-licence" in ran.err
    assert site.ranges == [] and contents(place) == {}


def test_a_broken_download_goes_on(fetch: Callable[..., Ran], site: Site, place: Path) -> None:
    site.breaks_after = 5000
    ran = fetch()
    assert ran.code == 2 and "5,000 bytes are kept" in ran.err and not (place / "visa").exists()
    site.breaks_after = None
    assert fetch().code == 0
    assert site.ranges == [None, "bytes=5000-"] and [path.name for path in place.iterdir()] == ["visa"]


def test_another_file_than_the_known_one_is_refused(aakit: Command, site: Site, place: Path) -> None:
    site.content = packed(visa())
    ran = aakit("data", "fetch", "visa", "--accept-licence", "--url", site.url, "--out", place / "visa")
    assert ran.code == 2 and hashlib.sha256(site.content).hexdigest() in ran.err
    assert contents(place) == {}


def test_where_no_checksum_is_known_it_says_so(aakit: Command, site: Site, place: Path) -> None:
    files = {f"{name}/test/good/a.png": picture("L") for name in mpdd()}
    site.content = packed(files, top="MPDD/")
    ran = aakit("data", "fetch", "mpdd", "--accept-licence", "--url", site.url, "--out", place / "mpdd")
    assert (ran.code, ran.err) == (0, "")
    assert f"{hashlib.sha256(site.content).hexdigest()}, which nothing here can be compared with" in ran.out
    assert "licence     not known here" in ran.out
    assert (place / "mpdd" / "connector" / "test").is_dir(), "the only folder of the archive is the root"


def mpdd() -> list[str]:
    return ["bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"]


def test_without_an_address_it_says_where_to_look(aakit: Command, place: Path) -> None:
    ran = aakit("data", "fetch", "mvtec", "--accept-licence", "--out", place / "mvtec")
    assert ran.code == 2 and "https://www.mvtec.com" in ran.err and "--url" in ran.err and contents(place) == {}


def test_an_archive_that_was_fetched_by_hand_is_used_and_kept(
    aakit: Command, site: Site, place: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "visa.tar"
    archive.write_bytes(packed(visa()))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest().upper()
    given = ("--accept-licence", "--archive", archive, "--sha256", digest, "--out", place / "visa")
    assert aakit("data", "fetch", "visa", *given).code == 0
    assert archive.is_file() and site.ranges == []


@pytest.mark.parametrize("damage", ["no images", "outside", "no mask", "columns"])
def test_what_is_not_the_data_set_leaves_nothing(
    fetch: Callable[..., Ran], site: Site, place: Path, damage: str
) -> None:
    files = visa()
    if damage == "no images":
        files = {"readme.txt": b"moved"}
    elif damage == "outside":
        files["split_csv/1cls.csv"] = files["split_csv/1cls.csv"].replace(b"candle/Data/Images/Normal/000", b"../out")
    elif damage == "no mask":
        del files["pcb1/Data/Masks/Anomaly/000.png"]
    else:
        files["split_csv/1cls.csv"] = b"object,image\ncandle,a\n"
    site.content = packed(files)
    ran = fetch()
    assert ran.code == 2 and "error: " in ran.err and "Traceback" not in ran.err
    assert contents(place) == {}


def test_what_was_fetched_stays_where_the_disk_is_full(
    fetch: Callable[..., Ran], site: Site, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
        ran = fetch()
        assert_plain(ran)
        assert "no room" in ran.err and (place / "visa.download" / "archive").is_file()
    assert fetch().code == 0
    assert site.ranges == [None, f"bytes={len(site.content)}-"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "there is no public data set called 'nothing'"),
        (("folder", "--accept-licence"), "has no publishers"),
        (("visa", "--accept-licence", "--sha256", "12"), "is no SHA-256"),
        (("visa", "--accept-licence", "--archive", "nothing.tar"), "there is no such file"),
    ],
)
def test_bad_arguments_are_told(aakit: Command, place: Path, arguments: tuple[str, ...], said: str) -> None:
    ran = aakit("data", "fetch", *arguments, "--out", place / "out")
    assert ran.code == 2 and said in ran.err and contents(place) == {}


@pytest.mark.parametrize("name", ["nonsuch", "folder"])
def test_a_data_set_that_cannot_be_fetched_is_answered_with_those_that_can(aakit: Command, name: str) -> None:
    (fix,) = [line for line in aakit("data", "fetch", name).err.splitlines() if "fix:" in line]
    assert "visa" in fix and not any(other in fix for other in ("blended", "folder", "manifest", "pasted", "synthetic"))


def test_every_public_data_set_says_where_it_is_from() -> None:
    registry = discover()
    origins = {name: registry.get("data-set", name).stated("origin") for name in registry.names("data-set")}
    known = {name: origin for name, origin in origins.items() if origin}
    assert len(known) == 11
    for origin in known.values():
        assert origin.page.startswith("https://")
        assert origin.sha256 is None or len(origin.sha256) == 64
        assert origin.url is None or (origin.url.startswith("https://") and origin.sha256)
