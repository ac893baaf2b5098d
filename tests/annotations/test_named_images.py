"""Images by the names that annotations have for them: the whole path, else its end, and never a guess between two."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.annotations.named_images import NamedImages, search_files

from .given import images, written


@pytest.mark.parametrize(
    ("name", "found", "is_whole"),
    [
        ("x/a.png", "x/a.png", True),
        ("./x//a.png", "x/a.png", True),
        ("x\\a.png", "x/a.png", True),
        ("/elsewhere/photos/x/a.png", "x/a.png", False),
        ("C:\\photos\\y\\a.png", "y/a.png", False),
        ("../../b.png", "z/b.png", False),
        ("b.png", "z/b.png", False),
        ("cafe\u0301.png", "caf\u00e9.png", True),
    ],
)
def test_an_image_is_found_by_its_path_or_the_end_of_it(tmp_path: Path, name: str, found: str, is_whole: bool) -> None:
    folder = NamedImages(images(tmp_path, "x/a.png", "y/a.png", "z/b.png", "caf\u00e9.png"))
    assert folder.find((name,), "file", without_ending=False) == (tmp_path / found, is_whole)


def test_a_name_without_its_ending_is_that_of_one_image(tmp_path: Path) -> None:
    folder = NamedImages(images(tmp_path, "x/a.v1.png", "c.png", "c.bmp"))
    assert folder.find(("x/a.v1",), "file", without_ending=True) == (tmp_path / "x/a.v1.png", True)
    with pytest.raises(UserError, match=r"may be any of .*c\.bmp, .*c\.png"):
        folder.find(("c",), "file", without_ending=True)
    with pytest.raises(UserError, match="there is no image"):
        folder.find(("x/a",), "file", without_ending=True)


@pytest.mark.parametrize("names", [("a.png",), ("q/a.png", "a.png")])
def test_between_two_images_none_is_taken(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = NamedImages(images(tmp_path, "x/a.png", "y/a.png"))
    with pytest.raises(UserError, match=r"may be any of .*x/a\.png, .*y/a\.png") as caught:
        folder.find(names, "file, line 3", without_ending=False)
    assert caught.value.where == "file, line 3" and caught.value.fix


@pytest.mark.parametrize("name", ["", "/", "..", "../secret.png", "/etc/passwd", "x", "a.PNG", "\0", "\udcff"])
def test_a_name_leads_nowhere_but_to_images_of_the_folder(tmp_path: Path, name: str) -> None:
    images(tmp_path, "secret.png")
    folder = NamedImages(images(tmp_path / "photos", "a.png"))
    with pytest.raises(UserError, match="there is no image"):
        folder.find((name,), "file", without_ending=False)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a.txt", "")
    for place in (tmp_path, tmp_path / "none", tmp_path / "a.txt"):
        with pytest.raises(UserError, match=r"no image|is no folder"):
            NamedImages(place)
    assert search_files(tmp_path, ".txt") == [tmp_path / "a.txt"]
