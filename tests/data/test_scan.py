"""Every file is read once: faults name theirs, and the fingerprint tells content, labels and masks."""

from __future__ import annotations

import shutil
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from aaclip_kit import DataSet, Sample, UserError
from aaclip_kit.data import scan as survey_module
from aaclip_kit.data.scan import LEAST_SIDE, scan_dataset

from ..pictures import png
from .given import data_set


def test_good_data_have_facts_and_no_faults(root: Path) -> None:
    found = scan_dataset(data_set(root))
    assert found.faults == ()
    assert found.data == data_set(root)
    assert {facts.size for facts in found.facts} == {(40, 40)}
    assert [facts.mask is None for facts in found.facts] == [True] * 4 + [False] * 4


def test_few_images_are_decoded_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be of hundreds of megabytes."""
    lock, at_once, most = threading.Lock(), 0, 0

    def slow(path: Path, content: bytes) -> Image.Image:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)
        with lock:
            at_once -= 1
        return Image.new("RGB", (40, 40))

    monkeypatch.setattr(survey_module, "open_picture", slow)
    scan_dataset(data_set(root))
    assert 1 < most <= 4


def test_every_faulty_file_is_named_and_left_out(root: Path) -> None:
    (root / "test" / "good" / "000.png").write_text("a text file")
    Image.new("RGB", (1, 1)).save(root / "test" / "good" / "001.png")
    (root / "test" / "good" / "002.png").write_bytes(png((20000, 20000, 8, 0, 0, 0, 0), zlib.compress(b"")))
    whole = (root / "test" / "spot" / "001.png").read_bytes()
    (root / "test" / "spot" / "001.png").write_bytes(whole[:200])
    Image.new("L", (3, 3)).save(root / "ground_truth" / "spot" / "002_mask.png")
    (root / "ground_truth" / "spot" / "003_mask.png").unlink()
    brought = UserError("is no row", where="list.csv, line 3")
    found = scan_dataset(replace(data_set(root), faults=(brought,)))
    said = {Path(str(fault.where)).name: fault.problem for fault in found.faults}
    assert list(said) == ["list.csv, line 3", "000.png", "001.png", "002.png", "002_mask.png", "003_mask.png"]
    assert (
        said["000.png"]
        == "cannot be read as an image: what it holds is no image in PNG, JPEG, BMP, TIFF, WebP, GIF or PPM"
    )
    assert said["002.png"] == "is too large: it has more than 100,000,000 pixels"
    assert said["002_mask.png"] == "the mask is 3 x 3 pixels, its image 40 x 40"
    assert said["003_mask.png"] == "there is no such file"
    of_size = [fault.problem for fault in found.faults if str(fault.where).endswith("good/001.png")]
    assert of_size == [f"is 1 x 1 pixels, too small to show anything: a side needs {LEAST_SIDE}"]
    truncated = [fault.problem for fault in found.faults if str(fault.where).endswith("spot/001.png")]
    assert len(truncated) == 1 and truncated[0].startswith("cannot be read as an image: ")
    assert [sample.image.name for sample in found.data.samples] == ["003.png", "000.png"]
    assert len(found.facts) == 2


@pytest.mark.parametrize(("size", "sound"), [((LEAST_SIDE, 500), True), ((LEAST_SIDE - 1, 500), False)])
def test_the_smallest_side_that_counts(tmp_path: Path, size: tuple[int, int], sound: bool) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    found = scan_dataset(DataSet((Sample(tmp_path / "a.png", "a", 0),), {"a": "a"}))
    assert (len(found.facts), len(found.faults)) == ((1, 0) if sound else (0, 1))


def test_an_image_that_may_not_be_read_is_a_fault(root: Path) -> None:
    image = root / "test" / "good" / "000.png"
    image.unlink()
    image.mkdir()
    (fault,) = scan_dataset(data_set(root)).faults
    assert fault.where == str(image)
    assert fault.problem == "is a folder, and no file"


def test_a_black_mask_is_seen(root: Path) -> None:
    Image.new("L", (40, 40)).save(root / "ground_truth" / "spot" / "002_mask.png")
    assert [sample.image.name for sample, facts in scan_dataset(data_set(root)).pairs if facts.blank] == ["002.png"]


def test_a_fingerprint_tells_content_labels_and_masks(root: Path, tmp_path: Path) -> None:
    first = scan_dataset(data_set(root)).fingerprint()
    assert first.as_record() == {
        "count": 8,
        "classes": ["cloth"],
        "counts": {"cloth": {"normal": 4, "anomalous": 4}},
        "sha256": first.sha256,
    }
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(root, elsewhere)
    assert scan_dataset(data_set(elsewhere)).fingerprint().sha256 == first.sha256, "where it lies does not matter"
    Image.new("L", (40, 40), 255).save(elsewhere / "ground_truth" / "spot" / "000_mask.png")
    assert scan_dataset(data_set(elsewhere)).fingerprint().sha256 != first.sha256
    samples = data_set(root).samples
    fewer = DataSet(samples[1:], {"cloth": "cloth"})
    relabelled = DataSet((Sample(samples[0].image, "cloth", 1), *samples[1:]), {"cloth": "cloth"})
    renamed = DataSet((Sample(samples[0].image, "wood", 0), *samples[1:]), {"cloth": "cloth", "wood": "wood"})
    swapped = DataSet(samples[::-1], {"cloth": "cloth"})
    prints = {scan_dataset(data).fingerprint().sha256 for data in (fewer, relabelled, renamed, swapped)} | {
        first.sha256
    }
    assert len(prints) == 5
