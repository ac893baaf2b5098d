"""A written list of images is read back as the same data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aaclip_kit_plugins.manifest import ManifestOptions, read_manifest

from aaclip_kit import UserError
from aaclip_kit.data.manifests import labelled_rows, prefix_of, unlabelled_rows, write_manifest

from .given import data_set


@pytest.mark.parametrize("name", ["list.jsonl", "list.csv"])
def test_what_is_written_is_read_back(root: Path, tmp_path: Path, name: str) -> None:
    data, out = data_set(root), tmp_path / "lists" / name
    write_manifest(labelled_rows(data, root, Path()), out)
    again = read_manifest(ManifestOptions(manifest=out, root=root))
    assert set(again.samples) == set(data.samples)
    assert again.faults == ()


def test_rows_have_the_published_keys(root: Path) -> None:
    rows = labelled_rows(data_set(root), root, Path("below"))
    assert rows[0] == {"image_path": "below/test/good/000.png", "label": 0, "class_name": "cloth"}
    mask = {"mask_path": "below/ground_truth/spot/000_mask.png"}
    assert rows[4] == {"image_path": "below/test/spot/000.png", "label": 1, "class_name": "cloth", **mask}


def test_images_without_labels(tmp_path: Path) -> None:
    rows = unlabelled_rows([tmp_path / "a b.png", tmp_path / "c/ü.jpg"], tmp_path, Path())
    write_manifest(rows, tmp_path / "list.csv")
    assert (tmp_path / "list.csv").read_text(encoding="utf-8") == "image_path\na b.png\nc/ü.jpg\n"
    write_manifest(rows, tmp_path / "list.jsonl")
    assert [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()] == rows


def test_paths_start_from_the_manifests_folder_where_the_images_are_below_it(tmp_path: Path) -> None:
    images = tmp_path / "a" / "images"
    images.mkdir(parents=True)
    assert prefix_of(tmp_path / "a" / "list.csv", images) == Path("images")
    assert prefix_of(images / "list.csv", images) == Path()
    assert prefix_of(tmp_path / "b" / "list.csv", images) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("there.csv", "exists already"),
        ("list.txt", "is no name for a manifest"),
        ("file/list.csv", "cannot be written"),
    ],
)
def test_nothing_is_overwritten_and_no_other_kind_of_file_written(tmp_path: Path, name: str, said: str) -> None:
    for file in ("there.csv", "file"):
        (tmp_path / file).write_text("kept")
    with pytest.raises(UserError, match=said) as caught:
        write_manifest([], tmp_path / name)
    assert caught.value.fix
    assert {path.read_text() for path in tmp_path.iterdir()} == {"kept"}


def test_a_file_outside_the_root_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="lies outside"):
        labelled_rows(data_set(root), root / "test", Path())
