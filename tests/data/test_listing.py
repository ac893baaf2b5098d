"""Image files to score: which of a folder's files they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.data.manifests import list_images


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_a_folder_is_searched_without_hidden_files_and_masks(tmp_path: Path) -> None:
    _touch(tmp_path, "test/good/1.png", "test/hole/2.JPG", "ground_truth/hole/2_mask.png", ".x/3.png", "notes.txt")
    found, faults = list_images([tmp_path])
    assert [item.image.relative_to(tmp_path).as_posix() for item in found] == ["test/good/1.png", "test/hole/2.JPG"]
    assert not faults


def test_a_folder_of_masks_can_still_be_named(tmp_path: Path) -> None:
    _touch(tmp_path, "ground_truth/hole/2_mask.png")
    assert len(list_images([tmp_path / "ground_truth"])[0]) == 1
    with pytest.raises(UserError, match="no image in this folder"):
        list_images([tmp_path])


def test_a_path_that_is_none_is_a_fault_of_its_line(tmp_path: Path) -> None:
    _touch(tmp_path, "b.png")
    lines = [r'{"image_path": "a\u0000.png"}', '{"image_path": "b.png"}', '{"image_path": "c.png"}']
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    found, (fault, missing) = list_images([tmp_path / "list.jsonl"])
    assert [item.image for item in found] == [tmp_path / "b.png"]
    assert fault.where == f"{tmp_path / 'list.jsonl'}, line 1"
    assert fault.problem.startswith('"image_path" is no path (')
    assert missing.where == f"{tmp_path / 'list.jsonl'}, line 3" and "there is no file" in missing.problem


def test_a_cell_too_large_for_csv_is_a_fault_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"image_path\na.png\n{'b' * 200_000}\n")
    with pytest.raises(UserError, match="is no CSV") as caught:
        list_images([tmp_path / "list.csv"])
    assert caught.value.where == f"{tmp_path / 'list.csv'}, line 3"
