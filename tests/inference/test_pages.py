"""Files of several pictures, and files that change: what a trained model answers for."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import DataSet, Sample, TrainedModel, UserError, UserErrors, load_model
from aaclip_kit.data import image_file
from aaclip_kit.data.checks import previews, remarks
from aaclip_kit.data.decoded import Decoded
from aaclip_kit.data.loader import test_batches as scored_batches
from aaclip_kit.data.scan import scan_dataset
from aaclip_kit.files.plain_file import read_plain

from ..command import Command


@pytest.fixture(scope="module")
def model(trained: Path) -> TrainedModel:
    return load_model(trained, device="cpu")


def noise(seed: int, high: int = 256) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, high, (30, 40, 3), dtype=np.uint8))


def save(path: Path, pictures: Sequence[Image.Image]) -> Path:
    pictures[0].save(path, save_all=True, append_images=pictures[1:], lossless=True)
    return path


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
def test_each_page_is_an_image_of_its_own(model: TrainedModel, tmp_path: Path, suffix: str) -> None:
    pictures = [noise(1, 20), noise(2), noise(3, 90)]
    scan = save(tmp_path / f"scan{suffix}", pictures)
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    alone = list(model.predict_all([tmp_path / f"{number}.png" for number in range(3)]))
    pages = list(model.predict_all([scan]))
    assert [page.path.name for page in pages] == [f"scan{suffix}#{number}" for number in (1, 2, 3)]
    assert [page.pred_score for page in pages] == [one.pred_score for one in alone]
    assert len({page.pred_score for page in pages}) == 3
    assert model.predict(pages[1].path).pred_score == model.predict(tmp_path / "1.png").pred_score
    with pytest.raises(UserErrors, match="holds 3 pictures where one is wanted") as caught:
        model.predict(scan)
    (fault,) = caught.value.faults
    assert fault.fix == f"save each as a file of its own; predict takes them all, or one, as in scan{suffix}#2"
    with pytest.raises(UserErrors, match="it holds 3 pictures"):
        list(model.predict_all([tmp_path / f"scan{suffix}#4"]))


def test_the_command_writes_a_line_and_pictures_for_each_page(aakit: Command, trained: Path, tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.tif", [noise(1), noise(2)])
    noise(3).save(tmp_path / "scan.png")
    ran = aakit("predict", trained, tmp_path, "--out", tmp_path / "out", "--map-threshold", 1)
    assert ran.code == 0, ran
    lines = (tmp_path / "out" / "scores.jsonl").read_text()
    assert [f'"path": "{path}"' in lines for path in (f"{scan}#1", f"{scan}#2", tmp_path / "scan.png")] == [True] * 3
    names = {path.name for path in (tmp_path / "out" / "masks").iterdir()}
    assert names == {"scan.png", "scan.tif#1.png", "scan.tif#2.png"}
    assert aakit("predict", trained, f"{scan}#2", "--out", tmp_path / "one").code == 0
    assert (tmp_path / "one" / "scores.jsonl").read_text().count(f'"path": "{scan}#2"') == 1
    ran = aakit("predict", trained, f"{scan}#3", "--out", tmp_path / "none")
    assert ran.code == 2 and "scan.tif#3: cannot be read as an image: it holds 2 pictures" in ran.err


def stereo(path: Path, second: Image.Image, kind: int = 0) -> Path:
    """A JPEG with a second picture of a kind, in the table that cameras write."""
    noise(1, 20).save(path, "MPO", save_all=True, append_images=[second])
    content = bytearray(path.read_bytes())
    entries = content.index(b"MPF\0") + 4 + 50  # behind a directory of three tags
    content[entries + 16 : entries + 20] = struct.pack("<L", kind)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("second", "kind", "count"),
    [
        (noise(2), 0, 2),
        (noise(2), 0x020002, 2),
        (noise(2).resize((20, 15)), 0x020001, 2),
        (noise(2).resize((20, 15)), 0, 1),
        (noise(2).convert("L").resize((20, 15)), 0, 1),
        (noise(2), 0x010001, 1),
    ],
    ids=["two views", "disparity", "panorama", "a smaller one", "a map of gain", "a large thumbnail"],
)
def test_views_of_a_jpeg_are_images_and_previews_are_told_of(
    tmp_path: Path, second: Image.Image, kind: int, count: int
) -> None:
    data = DataSet((Sample(stereo(tmp_path / "a.jpg", second, kind), "a", 0),), {"a": "a"})
    whole, pages = scan_dataset(data), scan_dataset(data, each_page=True)
    assert [fault.problem for fault in whole.faults] == ["holds 2 pictures where one is wanted"] * (count - 1)
    assert [sample.image.name for sample in pages.data.samples] == (["a.jpg"] if count == 1 else ["a.jpg#1", "a.jpg#2"])
    assert len({facts.pixels for facts in pages.facts}) == count
    line = "1 images have previews, or maps of gain or depth, in their files, which are not looked at; the first is"
    told = [f"{line} {tmp_path / 'a.jpg'}"] if count == 1 else []
    assert previews(pages.pairs) == told
    assert count == 2 or remarks(whole)[1:] == told


def test_a_picture_that_was_cut_off_behind_a_jpeg_is_none(tmp_path: Path) -> None:
    path = stereo(tmp_path / "a.jpg", noise(2))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\xff\xd9") + 2])
    scan = scan_dataset(DataSet((Sample(path, "a", 0),), {"a": "a"}), each_page=True)
    assert [sample.image for sample in scan.data.samples] == [path] and not scan.facts[0].passed_over


def test_the_command_reads_each_file_once_and_tells_of_previews(
    aakit: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [save(tmp_path / "scan.tif", [noise(1), noise(2)]), stereo(tmp_path / "a.jpg", noise(2).resize((20, 15)))]
    read = list[Path]()

    def counted(path: Path, **options: Any) -> bytes:
        read.append(path)
        return read_plain(path, **options)

    monkeypatch.setattr(image_file, "read_plain", counted)
    ran = aakit("predict", trained, *files, "--out", tmp_path / "out")
    assert ran.code == 0, ran
    assert sorted(read[:2]) == sorted(files)
    assert len(read) == 2 + 3, "the contact sheet shows three images"
    assert "note        1 images have previews, or maps of gain or depth, in their files" in ran.out


def test_pages_are_known_apart(tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.tif", [noise(1), noise(2)])
    read = scan_dataset(DataSet((Sample(scan, "a", 0),), {"a": "a"}), each_page=True)
    assert len(set(read.fingerprint().images.values())) == 2, "kept features go by them"
    kept = Decoded()
    first, second = (kept.read(sample, 20)[0] for sample in read.data.samples)
    assert not np.array_equal(first, second)


def test_in_a_data_set_several_pictures_are_a_fault_with_their_count(tmp_path: Path) -> None:
    scan = save(tmp_path / "scan.gif", [noise(1), noise(2), noise(3)])
    noise(4).save(tmp_path / "one.png")
    samples = (Sample(scan, "a", 0), Sample(tmp_path / "one.png", "a", 1, scan))
    faults = scan_dataset(DataSet(samples, {"a": "a"})).faults
    assert [(fault.where, fault.problem) for fault in faults] == [
        (str(scan), "holds 3 pictures where one is wanted")
    ] * 2


def rewritten(path: Path, picture: Image.Image) -> None:
    """Put another picture of the same size and time in a file."""
    facts = path.stat()
    picture.save(path)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)


def test_a_frame_that_is_overwritten_in_place_gets_a_score_of_its_own(model: TrainedModel, tmp_path: Path) -> None:
    frame, other = tmp_path / "frame.bmp", tmp_path / "other.bmp"
    noise(1, 20).save(frame)
    noise(2).save(other)
    data = DataSet((Sample(frame, "a", 0), Sample(other, "a", 1)), {"a": "a"})
    first, metrics = model.predict(frame).pred_score, model.metrics(data)
    waiting = model.predict_all([frame])
    rewritten(frame, noise(2))
    assert next(waiting).pred_score == first, "it was read when it was asked for"
    assert model.predict(frame).pred_score == model.predict(other).pred_score != first
    (batch,) = model.evaluator_for(data).scored_batches(data, "a", model.attending, trained=True)
    assert batch.image_scores[0] == batch.image_scores[1]
    assert metrics != model.metrics(data)


@pytest.mark.parametrize("changed", ["image", "mask"])
def test_a_file_that_changes_after_the_data_were_looked_through_ends_the_work(
    model: TrainedModel, tmp_path: Path, changed: str
) -> None:
    files = tmp_path / "image.bmp", tmp_path / "mask.bmp"
    for seed, file in enumerate(files):
        noise(seed + 3).save(file)
    sample = Sample(files[0], "a", 1, files[1])
    samples = scan_dataset(DataSet((sample,), {"a": "a"})).data.samples
    assert samples == (sample,) and len(list(scored_batches(samples, model.evaluator.pixels, 1))) == 1
    rewritten(tmp_path / f"{changed}.bmp", noise(2))
    with pytest.raises(UserError, match=f"{changed}.bmp: has been changed since the data were looked through"):
        list(scored_batches(samples, model.evaluator.pixels, 1))
