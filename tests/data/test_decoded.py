import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import Sample, UserError
from aaclip_kit.data import decoded
from aaclip_kit.data.decode import open_picture
from aaclip_kit.data.decoded import Decoded
from aaclip_kit.data.image_file import MOST_PIXELS
from aaclip_kit.data.loader import Pixels, TrainBatches
from aaclip_kit.data.loader import test_batches as scored_batches
from aaclip_kit.experiment.schema import AugmentationTable


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Every file that is decoded."""
    files: list[Path] = []

    def counted(file: Path, content: bytes) -> Image.Image:
        files.append(file)
        return open_picture(file, content)

    monkeypatch.setattr(decoded, "open_picture", counted)
    yield files


def picture(file: Path, shade: int) -> Path:
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(file)
    return file


def mask(file: Path) -> Path:
    Image.new("L", (8, 6), 255).save(file)
    return file


def test_a_pair_is_decoded_once_for_each_size(tmp_path: Path, opened: list[Path]) -> None:
    kept, file, marked = Decoded(), picture(tmp_path / "a.png", 9), mask(tmp_path / "m.png")
    first, again = kept.read(Sample(file, "thing", 1, marked), 4), kept.read(Sample(file, "thing", 1, marked), 4)
    assert len(opened) == 1
    np.testing.assert_array_equal(first[0], np.full((4, 4, 3), [9, 0, 0]))
    assert first[1].all()
    assert first[1].shape == (4, 4)
    assert again[0] is first[0]
    assert not kept.read(Sample(file, "thing", 0), 4)[1].any()
    assert kept.read(Sample(file, "thing", 1, marked), 5)[0].shape == (5, 5, 3)
    assert len(opened) == 3


def test_a_file_that_is_written_again_is_decoded_again(tmp_path: Path) -> None:
    kept, file = Decoded(), picture(tmp_path / "a.png", 1)
    assert kept.read(Sample(file, "thing", 0), 4)[0].max() == 1
    picture(file, 200)
    os.utime(file, ns=(5, 5))
    assert kept.read(Sample(file, "thing", 0), 4)[0].max() == 200
    file.unlink()
    with pytest.raises(UserError, match=r"^\S+a.png: there is no such file"):
        kept.read(Sample(file, "thing", 0), 4)


def test_what_was_read_longest_ago_makes_room(tmp_path: Path, opened: list[Path]) -> None:
    kept, files = Decoded(most=2 * 4 * 4 * 4), [picture(tmp_path / f"{n}.png", n) for n in range(3)]
    for n in (0, 1, 0, 2, 0, 1):
        assert kept.read(Sample(files[n], "thing", 0), 4)[0].max() == n
    assert opened == [files[n] for n in (0, 1, 2, 1)]


def test_a_mask_of_another_size_is_refused_every_time(tmp_path: Path) -> None:
    kept, file = Decoded(), picture(tmp_path / "a.png", 1)
    Image.new("L", (6, 8)).save(tmp_path / "m.png")
    for _ in range(2):
        with pytest.raises(UserError, match="the mask is 6 x 8 pixels, its image 8 x 6"):
            kept.read(Sample(file, "thing", 1, tmp_path / "m.png"), 4)


def test_epochs_and_evaluations_of_one_owner_decode_an_image_once(tmp_path: Path, opened: list[Path]) -> None:
    samples = tuple(Sample(picture(tmp_path / f"{n}.png", n), "thing", 0) for n in range(2))
    pixels = Pixels(4, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    batches = TrainBatches(samples, pixels, AugmentationTable(), augment="geometry", batch_size=2, key=(1,))
    for epoch in (1, 2):
        list(batches.epoch(epoch))
    list(scored_batches(samples, pixels, 2))
    assert len(opened) == 2
    list(scored_batches(samples, replace(pixels, decoded=Decoded()), 2))
    assert len(opened) == 4


def test_nothing_is_stored_without_room(tmp_path: Path, opened: list[Path]) -> None:
    decoder, file = Decoded(most=0), picture(tmp_path / "a.png", 1)
    for _ in range(2):
        assert decoder.read(Sample(file, "thing", 0), 4)[0].max() == 1
    assert len(opened) == 2


def test_a_copy_for_another_process_begins_without_pictures(tmp_path: Path, opened: list[Path]) -> None:
    decoder, file = Decoded(most=10_000), picture(tmp_path / "a.png", 1)
    decoder.read(Sample(file, "thing", 0), 4)
    copy = pickle.loads(pickle.dumps(decoder))
    assert copy.most == 10_000
    copy.read(Sample(file, "thing", 0), 4)
    assert len(opened) == 2


@pytest.mark.slow
def test_importing_changes_no_setting_of_other_libraries() -> None:
    settings = "(PIL.Image.MAX_IMAGE_PIXELS, [entry for entry in warnings.filters if 'PIL' in str(entry[3])])"
    code = (
        f"import warnings, PIL.Image; before = {settings}; import aaclip_kit.data.decode; assert {settings} == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_decoding_bounds_and_silences_pillow_and_puts_both_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, filters, during = Image.MAX_IMAGE_PIXELS, list(warnings.filters), list[int | None]()
    convert = Image.Image.convert

    def noted(self: Image.Image, mode: str) -> Image.Image:
        during.append(Image.MAX_IMAGE_PIXELS)
        return convert(self, mode)

    monkeypatch.setattr(Image.Image, "convert", noted)
    files = [picture(tmp_path / f"{n}.png", n) for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_picture, files))
    assert during == [MOST_PIXELS] * 8
    assert Image.MAX_IMAGE_PIXELS == before != MOST_PIXELS
    assert list(warnings.filters) == filters


def test_what_is_read_once_is_held_until_then_and_not_longer(tmp_path: Path, opened: list[Path]) -> None:
    held, files = Decoded(most=2 * 4 * 4 * 4, once=True), [picture(tmp_path / f"{n}.png", n) for n in range(3)]
    for n, file in enumerate(files):
        held.hold(file, Image.new("RGB", (8, 6), (n, 0, 0)), 4)
    assert [int(held.read(Sample(file, "thing", 0), 4)[0].max()) for file in files] == [0, 1, 2]
    assert opened == files[2:], "there was room for two"
    held.read(Sample(files[0], "thing", 0), 4)
    assert opened == [files[2], files[0]]
    again = pickle.loads(pickle.dumps(held))
    assert (again.most, again.once) == (held.most, True)
