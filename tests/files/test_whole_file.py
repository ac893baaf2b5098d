"""Files that belong together, and folders: all or nothing, whatever the disk does."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest

from aaclip_kit.files.whole_file import (
    beside,
    remove_leftovers,
    remove_whole,
    whole_folder,
    write_whole,
    write_whole_folder,
    write_whole_together,
)

from ..limits import files_of_at_most


@pytest.mark.parametrize("large", ["a", "b"])
def test_of_files_that_belong_together_none_is_new_where_one_does_not_fit(tmp_path: Path, large: str) -> None:
    for name in "ab":
        write_whole(tmp_path / name, f"earlier {name}")
    contents = {tmp_path / name: "new" * (1000 if name == large else 1) for name in "ab"}
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        write_whole_together(contents)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "earlier a", "b": "earlier b"}
    write_whole_together(contents)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == contents


def test_a_folder_is_there_with_all_of_its_files_or_not_at_all(tmp_path: Path) -> None:
    files = {PurePosixPath("small"): b"x", PurePosixPath("deep/large"): b"x" * 2000}
    with files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        write_whole_folder(tmp_path / "out", files)
    assert not list(tmp_path.iterdir())
    write_whole_folder(tmp_path / "out", files)
    assert {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        "small", "deep/large",
    }  # fmt: skip
    with pytest.raises(OSError, match="not empty"):
        write_whole_folder(tmp_path / "out", files)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_not_there_before_all_of_it_is_written_nor_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "deep/out") as part:
        (part / "file").write_text("half")
        assert not (tmp_path / "deep/out").exists()
        raise KeyboardInterrupt
    assert not list((tmp_path / "deep").iterdir())


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_nothing_that_lies_beside_is_overwritten_followed_or_removed(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "X", tmp_path / "other"
    for name in ("X.part", "X.gone", "X.part.gone", ".X.part"):
        if kind == "file":
            (tmp_path / name).write_text("the user's")
        elif kind == "folder":
            (tmp_path / name / "mine").mkdir(parents=True)
        else:
            (tmp_path / name).symlink_to(other)
    before = sorted(tmp_path.rglob("*"))
    write_whole(path, "new")
    assert path.read_text() == "new" and sorted([*before, path]) == sorted(tmp_path.rglob("*")) and not other.exists()
    path.unlink()
    path.mkdir()
    remove_whole(path)
    remove_whole(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_writers_of_one_file_at_once_do_not_meet(tmp_path: Path) -> None:
    contents = [bytes([number]) * 4096 for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_whole(tmp_path / "X", content), contents))
    assert (tmp_path / "X").read_bytes() in contents and [path.name for path in tmp_path.iterdir()] == ["X"]


def test_what_lies_beside_has_a_short_name_of_its_own(tmp_path: Path) -> None:
    longest = tmp_path / ("x" * 255)
    write_whole(longest, "new")
    assert longest.read_text() == "new" and beside(longest) != beside(longest)


def test_what_others_have_left_beside_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").touch()
    file, folder, link = (beside(tmp_path / name) for name in ("a.json", "results", "link"))
    file.touch()
    (folder / "inner").mkdir(parents=True)
    link.symlink_to(tmp_path / "kept")
    (tmp_path / ".short.part").touch()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"kept", ".short.part"}
    assert (tmp_path / "kept" / "mine.txt").exists()
