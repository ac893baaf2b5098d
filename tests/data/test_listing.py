"""Image files to score: which of a folder's files they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.data.manifests import Listed, list_images

from ..finding import forbidden, touch


def test_a_folder_is_searched_without_hidden_files_and_masks(tmp_path: Path) -> None:
    touch(tmp_path, "test/good/1.png", "test/hole/2.JPG", "ground_truth/hole/2_mask.png", ".x/3.png", "notes.txt")
    found, faults, notes = list_images([tmp_path])
    assert [item.image.relative_to(tmp_path).as_posix() for item in found] == ["test/good/1.png", "test/hole/2.JPG"]
    assert not faults
    (note,) = notes
    for said in ("1 in ground_truth (", "1 hidden (", "1 .txt ("):
        assert said in note


def test_a_folder_of_masks_can_still_be_named(tmp_path: Path) -> None:
    touch(tmp_path, "ground_truth/hole/2_mask.png")
    assert len(list_images([tmp_path / "ground_truth"])[0]) == 1
    with pytest.raises(UserError, match="no image in this folder") as caught:
        list_images([tmp_path])
    assert "passed over: 1 in ground_truth" in str(caught.value.fix)


def test_a_path_that_is_none_is_a_fault_of_its_line(tmp_path: Path) -> None:
    touch(tmp_path, "b.png")
    lines = [r'{"image_path": "a\u0000.png"}', '{"image_path": "b.png"}', '{"image_path": "c.png"}']
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    found, (fault, missing), _ = list_images([tmp_path / "list.jsonl"])
    assert [item.image for item in found] == [tmp_path / "b.png"]
    assert fault.where == f"{tmp_path / 'list.jsonl'}, line 1"
    assert fault.problem.startswith('"image_path" is no path (')
    assert missing.where == f"{tmp_path / 'list.jsonl'}, line 3" and "there is no file" in missing.problem


def test_a_cell_too_large_for_csv_is_a_fault_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"image_path\na.png\n{'b' * 200_000}\n")
    with pytest.raises(UserError, match="is no CSV") as caught:
        list_images([tmp_path / "list.csv"])
    assert caught.value.where == f"{tmp_path / 'list.csv'}, line 3"


def test_pictures_that_predict_wrote_are_left_out_and_others_of_their_name_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "out/scores.jsonl", "out/heatmaps/a/1.png", "out/masks/a/1.png", "out/2.png", "masks/3.png")
    found, _, (note,) = list_images([tmp_path])
    assert [item.image.relative_to(tmp_path).as_posix() for item in found] == ["masks/3.png", "out/2.png"]
    assert "2 in results of predict (" in note
    assert len(list_images([tmp_path / "out" / "masks"])[0]) == 1, "it can still be named"


def test_a_folder_that_may_not_be_read_is_a_fault_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    forbidden(monkeypatch, tmp_path / "b")
    found, (fault,), _ = list_images([tmp_path])
    assert (fault.where, [item.image.name for item in found]) == (str(tmp_path / "b"), ["1.png"])
    assert [fault.where for fault in list_images([tmp_path / "b"])[1]] == [str(tmp_path / "b")]


def test_links_into_a_store_are_images_of_their_own_under_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "store/3f", "photos/c.png")
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "store" / "3f")
    found, _, _ = list_images([tmp_path / "photos", tmp_path / "photos" / "a.png", tmp_path / "store/../photos/c.png"])
    assert [item.image.name for item in found] == ["a.png", "b.png", "c.png"], "each path once, however it is written"


def test_an_image_is_listed_for_every_class_that_a_list_gives_it(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "list.csv").write_text("image_path,class_name\na.png,lid\na.png,hinge\na.png,lid \na.png,\n")
    found, faults, _ = list_images([tmp_path / "list.csv"])
    assert found == [Listed(tmp_path / "a.png", name) for name in ("lid", "hinge", None)] and not faults


def test_paths_of_a_list_stay_below_its_folder_or_the_root_that_is_given(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.png")
    (tmp_path / "lists").mkdir()
    file = tmp_path / "lists" / "list.csv"
    file.write_text(f"image_path\n../photos/a.png\n{tmp_path / 'photos' / 'a.png'}\n")
    found, faults, _ = list_images([file])
    assert not found and ["--root" in str(fault.fix) for fault in faults] == [True, True]
    file.write_text(f"image_path\na.png\n{tmp_path / 'photos' / 'a.png'}\n")
    assert list_images([file], tmp_path / "photos") == ([Listed(tmp_path / "photos" / "a.png")], [], ())
