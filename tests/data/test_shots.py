"""Few-shot: drawn by seed and content, so that neither names nor the order of files matter."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from aaclip_kit import DataSet, UserErrors
from aaclip_kit.contracts.data import Shots
from aaclip_kit.data.scan import scan_dataset
from aaclip_kit.data.splits import draw_shots, shots_record

from ..conftest import write_class
from .given import data_set


def drawn(data: DataSet, normal: int, anomalous: int, seed: int = 0) -> list[bytes]:
    found = draw_shots(scan_dataset(data), Shots(normal=normal, anomalous=anomalous), seed, "data.train")
    assert len(found.facts) == len(found.data.samples)
    return [sample.image.read_bytes() for sample in found.data.samples]


def test_so_many_of_each_label_in_their_order(root: Path) -> None:
    found = draw_shots(scan_dataset(data_set(root)), Shots(normal=3, anomalous=1), 0, "data.train").data
    assert [sample.label for sample in found.samples] == [0, 0, 0, 1]
    assert list(found.samples) == [sample for sample in data_set(root).samples if sample in found.samples]
    assert len(drawn(data_set(root), 0, 4)) == 4


def test_the_seed_decides_and_fewer_are_among_more(root: Path) -> None:
    data = data_set(root)
    assert drawn(data, 2, 2) == drawn(data, 2, 2)
    assert len({tuple(drawn(data, 1, 1, seed)) for seed in range(12)}) > 4
    for seed in range(6):
        assert set(drawn(data, 1, 1, seed)) < set(drawn(data, 3, 2, seed))


def test_neither_names_nor_places_nor_order_matter(root: Path, tmp_path: Path) -> None:
    first = drawn(data_set(root), 2, 2)
    turned = replace(data_set(root), samples=data_set(root).samples[::-1])
    assert set(drawn(turned, 2, 2)) == set(first)
    elsewhere = tmp_path / "elsewhere" / "cloth"
    shutil.copytree(root, elsewhere)
    good = elsewhere / "test" / "good"
    for number, image in enumerate(sorted(good.iterdir(), reverse=True)):
        image.rename(good / f"z{number}.png")
    assert set(drawn(data_set(elsewhere), 2, 2)) == set(first)


def test_each_class_is_drawn_on_its_own(root: Path, tmp_path: Path) -> None:
    write_class(tmp_path, "wood", 1, seed=1)
    cloth, wood = data_set(root), data_set(tmp_path / "wood", "wood")
    both = DataSet(cloth.samples + wood.samples, {**cloth.real_names, **wood.real_names})
    assert drawn(both, 2, 1) == drawn(cloth, 2, 1) + drawn(wood, 2, 1)


def test_too_few_are_an_error_for_each_class_and_label(root: Path) -> None:
    with pytest.raises(UserErrors) as caught:
        drawn(data_set(root), 5, 9)
    said = [(fault.where, fault.problem) for fault in caught.value.faults]
    assert said == [
        ("data.train.shots.normal", "class 'cloth' has 4 normal images, not 5"),
        ("data.train.shots.anomalous", "class 'cloth' has 4 anomalous images, not 9"),
    ]
    assert all(fault.fix for fault in caught.value.faults)


def test_the_record_names_the_chosen_files(root: Path) -> None:
    shots = Shots(normal=1, anomalous=2)
    found = draw_shots(scan_dataset(data_set(root)), shots, 0, "data.train")
    files = {"cloth": [str(sample.image) for sample in found.data.samples]}
    assert shots_record(found, shots) == {"normal": 1, "anomalous": 2, "files": files}
