"""Files that belong together, and folders: all or nothing, whatever the disk does."""

from pathlib import Path, PurePosixPath

import pytest

from aaclip_kit.files.whole_file import write_whole, write_whole_folder, write_whole_together

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
