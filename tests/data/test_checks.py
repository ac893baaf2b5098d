"""What must hold of the data before anything is trained: every file readable, masks that fit, nothing in two sets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from aaclip_kit import DataSet, Sample, UserError, UserErrors
from aaclip_kit.data.checks import (
    MOST_FAULTS,
    check_data_set,
    check_disjoint,
    check_trainable,
    class_counts,
    fingerprint,
)

from ..conftest import write_class


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_class(tmp_path, "cloth", 0, seed=0)
    return tmp_path / "cloth"


def data_set(root: Path) -> DataSet:
    samples = []
    for kind in ("good", "spot"):
        for image in sorted((root / "test" / kind).iterdir()):
            mask = root / "ground_truth" / "spot" / f"{image.stem}_mask.png" if kind == "spot" else None
            samples.append(Sample(image, "cloth", int(kind == "spot"), mask))
    return DataSet(tuple(samples), {"cloth": "cloth"})


def test_good_data_pass(root: Path) -> None:
    check_data_set(data_set(root), "data.train")
    check_trainable(data_set(root), "data.train")
    assert class_counts(data_set(root).samples) == {"cloth": (4, 4)}


def test_no_images_are_a_message() -> None:
    with pytest.raises(UserError, match="has no images") as caught:
        check_data_set(DataSet((), {}), "data.train")
    assert caught.value.where == "data.train"


def test_every_faulty_file_is_named(root: Path) -> None:
    (root / "test" / "good" / "000.png").write_bytes(b"no image")
    whole = (root / "test" / "spot" / "001.png").read_bytes()
    (root / "test" / "spot" / "001.png").write_bytes(whole[:200])
    Image.new("L", (3, 3)).save(root / "ground_truth" / "spot" / "002_mask.png")
    (root / "ground_truth" / "spot" / "003_mask.png").unlink()
    data = data_set(root)
    with pytest.raises(UserErrors) as caught:
        check_data_set(data, "data.train")
    said = {Path(str(fault.where)).name: fault.problem for fault in caught.value.faults}
    assert set(said) == {"000.png", "001.png", "002_mask.png", "003_mask.png"}
    assert "cannot be read as an image" in said["000.png"]
    assert "cannot be read as an image" in said["001.png"]
    assert said["002_mask.png"] == "the mask is 3 x 3 pixels, its image 40 x 40"
    assert said["003_mask.png"] == "there is no such file"


def test_many_faults_are_cut_short_with_their_number(tmp_path: Path) -> None:
    samples = tuple(Sample(tmp_path / f"{number}.png", "a", 0) for number in range(MOST_FAULTS + 7))
    with pytest.raises(UserErrors) as caught:
        check_data_set(DataSet(samples, {"a": "a"}), "data.test")
    assert len(caught.value.faults) == MOST_FAULTS + 1
    assert caught.value.faults[-1].problem == "and 7 more faulty files"


def test_training_needs_masks_and_testing_does_not(root: Path) -> None:
    bare = DataSet(tuple(Sample(s.image, s.class_name, s.label) for s in data_set(root).samples), {"cloth": "cloth"})
    check_data_set(bare, "data.test")
    with pytest.raises(UserError, match=r"4 anomalous images have no mask, the first is .*000\.png") as caught:
        check_trainable(bare, "data.train")
    assert caught.value.fix


def test_a_fingerprint_tells_content_labels_and_masks(root: Path, tmp_path: Path) -> None:
    first = fingerprint(data_set(root))
    assert first.as_record() == {
        "count": 8,
        "classes": ["cloth"],
        "counts": {"cloth": {"normal": 4, "anomalous": 4}},
        "sha256": first.sha256,
    }
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(root, elsewhere)
    assert fingerprint(data_set(elsewhere)).sha256 == first.sha256, "where it lies does not matter"
    mask = elsewhere / "ground_truth" / "spot" / "000_mask.png"
    Image.new("L", (40, 40), 255).save(mask)
    assert fingerprint(data_set(elsewhere)).sha256 != first.sha256
    samples = data_set(root).samples
    fewer = DataSet(samples[1:], {"cloth": "cloth"})
    relabelled = DataSet((Sample(samples[0].image, "cloth", 1), *samples[1:]), {"cloth": "cloth"})
    renamed = DataSet((Sample(samples[0].image, "wood", 0), *samples[1:]), {"cloth": "cloth", "wood": "wood"})
    swapped = DataSet(samples[::-1], {"cloth": "cloth"})
    prints = {fingerprint(data).sha256 for data in (fewer, relabelled, renamed, swapped)} | {first.sha256}
    assert len(prints) == 5


def test_the_same_content_under_another_name_is_found(root: Path, tmp_path: Path) -> None:
    write_class(tmp_path / "other", "cloth", 1, seed=1)
    other = tmp_path / "other" / "cloth"
    first = fingerprint(data_set(root))
    check_disjoint(first, fingerprint(data_set(other)), ("data.train", "data.test"))
    shutil.copy(root / "test" / "good" / "002.png", other / "test" / "good" / "renamed.png")
    with pytest.raises(UserError, match=r"data\.train and data\.test share 1 images by content") as caught:
        check_disjoint(first, fingerprint(data_set(other)), ("data.train", "data.test"))
    assert "002.png" in caught.value.problem
    assert "renamed.png" in caught.value.problem
    assert caught.value.fix


def test_masks_may_be_shared(root: Path, tmp_path: Path) -> None:
    """Only images count: empty or square masks recur between classes."""
    write_class(tmp_path / "other", "cloth", 1, seed=1)
    other = tmp_path / "other" / "cloth"
    masks = [path / "ground_truth" / "spot" / "000_mask.png" for path in (root, other)]
    assert masks[0].read_bytes() == masks[1].read_bytes()
    check_disjoint(fingerprint(data_set(root)), fingerprint(data_set(other)), ("data.train", "data.test"))
