"""Names of pictures: each image its own, also for pages of files and names that look like those of pages."""

from __future__ import annotations

from pathlib import Path

from aaclip_kit.inference.picture_names import picture_names


def named(images: list[Path], taken: tuple[str, ...] = ()) -> list[str]:
    names = picture_names(images, taken)
    return [name.of(image).as_posix() for name, image in zip(names, images, strict=True)]


def test_names_are_the_places_below_the_folder_that_all_are_in(tmp_path: Path) -> None:
    images = [tmp_path / name for name in ("a/1.png", "b/1.png", "b/1.jpg", "B/2.PNG")]
    assert named(images) == ["a/1.png", "b/1.png", "b/1_2.png", "B/2.png"]
    assert named(images[:1]) == ["1.png"]
    assert named([tmp_path / "1.jpg"], taken=("1.png", "1_2.png")) == ["1_3.png"]


def test_pages_are_named_by_their_number_also_where_the_name_is_too_long(tmp_path: Path) -> None:
    for place in ("scan.tif", "x" * 251 + ".tif"):
        (tmp_path / place).touch()
        (name,) = picture_names([tmp_path / place])
        pages = [name.of(tmp_path / f"{place}#{number}").name for number in (1, 2)]
        assert pages[0].endswith("#1.png") and pages[1].endswith("#2.png")
        assert all(len(page) <= 255 for page in pages)


def test_pages_have_a_number_where_their_file_is_looked_at_twice_and_not_for_another_of_its_name(
    tmp_path: Path,
) -> None:
    for name in ("scan.png", "scan.tif"):
        (tmp_path / name).touch()
    scan, page = tmp_path / "scan.tif", tmp_path / "scan.tif#1"
    names = list(picture_names([tmp_path / "scan.png", scan, scan]))
    assert [name.of(page).name for name in names[1:]] == ["scan.tif#1.png", "scan.tif#1_2.png"]
    (later,) = picture_names([scan], taken=("scan.tif#1.png", "scan.tif#1_2.png"))
    assert later.of(page).name == "scan.tif#1_3.png"


def test_a_file_that_is_called_like_a_page_is_not_in_its_way(tmp_path: Path) -> None:
    images = [tmp_path / "scan.tif", tmp_path / "scan.tif#1.jpg", tmp_path / "other#1.jpg"]
    for image in images:
        image.touch()
    names = list(picture_names(images))
    assert names[0].of(tmp_path / "scan.tif#1").name == "scan.tif#1.png"
    assert [name.of(image).name for name, image in zip(names[1:], images[1:], strict=True)] == [
        "scan.tif#1_2.png",
        "other#1.png",
    ]
