import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import UserError
from aaclip_kit.data import decode as decoded
from aaclip_kit.data.decode import Decoded


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Every file that is decoded."""
    files: list[Path] = []
    true = decoded.open_picture

    def open_picture(file: Path) -> Image.Image:
        files.append(file)
        return true(file)

    monkeypatch.setattr(decoded, "open_picture", open_picture)
    yield files


def picture(file: Path, shade: int) -> Path:
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(file)
    return file


def mask(file: Path) -> Path:
    Image.new("L", (8, 6), 255).save(file)
    return file


def test_a_pair_is_decoded_once_for_each_size(tmp_path: Path, opened: list[Path]) -> None:
    kept, file, marked = Decoded(), picture(tmp_path / "a.png", 9), mask(tmp_path / "m.png")
    first, again = kept.read(file, marked, 4), kept.read(file, marked, 4)
    assert len(opened) == 1
    np.testing.assert_array_equal(first[0], np.full((4, 4, 3), [9, 0, 0]))
    assert first[1].all()
    assert first[1].shape == (4, 4)
    assert again[0] is first[0]
    assert not kept.read(file, None, 4)[1].any()
    assert kept.read(file, marked, 5)[0].shape == (5, 5, 3)
    assert len(opened) == 3


def test_a_file_that_is_written_again_is_decoded_again(tmp_path: Path) -> None:
    kept, file = Decoded(), picture(tmp_path / "a.png", 1)
    assert kept.read(file, None, 4)[0].max() == 1
    picture(file, 200)
    os.utime(file, ns=(5, 5))
    assert kept.read(file, None, 4)[0].max() == 200
    file.unlink()
    with pytest.raises(UserError, match=r"^\S+a.png: there is no such file"):
        kept.read(file, None, 4)


def test_what_was_read_longest_ago_makes_room(tmp_path: Path, opened: list[Path]) -> None:
    kept, files = Decoded(most=2 * 4 * 4 * 4), [picture(tmp_path / f"{n}.png", n) for n in range(3)]
    for n in (0, 1, 0, 2, 0, 1):
        assert kept.read(files[n], None, 4)[0].max() == n
    assert opened == [files[n] for n in (0, 1, 2, 1)]


def test_a_mask_of_another_size_is_refused_every_time(tmp_path: Path) -> None:
    kept, file = Decoded(), picture(tmp_path / "a.png", 1)
    Image.new("L", (6, 8)).save(tmp_path / "m.png")
    for _ in range(2):
        with pytest.raises(UserError, match="the mask is 6 x 8 pixels, its image 8 x 6"):
            kept.read(file, tmp_path / "m.png", 4)
