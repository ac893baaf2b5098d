"""The public data sets: a miniature of each layout is read as the published protocol has it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from aaclip_kit_plugins.folder import LAYOUTS
from aaclip_kit_plugins.public import FACTS, register_data_sets

from aaclip_kit import DataSet, UserError, UserErrors
from aaclip_kit.data.scan import scan_dataset

from ..conftest import SHARED
from .miniature import MASKED, image, miniature
from .registered import registered

SETS = ["mvtec", "visa", "mpdd", "btad", "brain", "liver", "retina"]
POLYPS = ["colon_clinicdb", "colon_colondb", "colon_kvasir", "colon_cvc300"]
MEDICAL = {"brain", "liver", "retina", *POLYPS}


def read(name: str, root: Path, **options: Any) -> DataSet:
    factory, model = registered(register_data_sets)[name]
    return factory(model(root=root, **options))


def test_there_are_eleven_and_each_layout_is_used() -> None:
    assert sorted(FACTS) == sorted([*SETS, *POLYPS])
    assert {facts["layout"] for facts in FACTS.values()} == set(LAYOUTS)


@pytest.mark.skipif(not (SHARED / "classes.toml").is_file(), reason="../shared/classes.toml is not here")
def test_classes_names_and_domains_are_the_published_ones() -> None:
    published = tomllib.loads((SHARED / "classes.toml").read_text(encoding="utf-8"))
    assert {name: (facts["domain"], facts["classes"]) for name, facts in FACTS.items()} == {
        name: (facts["domain"], facts["classes"]) for name, facts in published.items()
    }


@pytest.mark.parametrize("name", FACTS)
def test_a_miniature_is_read_with_its_masks_names_and_domain(name: str, tmp_path: Path) -> None:
    """Two normal images a class where the set has any, three anomalous ones; each mask marks as many pixels as said."""
    classes = FACTS[name]["classes"]
    miniature(tmp_path, name, list(classes))
    data = read(name, tmp_path)
    assert (data.name, data.faults, data.notes) == (name, (), ())
    assert data.real_names == classes
    assert data.domain == ("medical" if name in MEDICAL else "industrial")
    normal = 0 if name in POLYPS else 2
    for class_name in classes:
        labels = [sample.label for sample in data.samples if sample.class_name == class_name]
        assert (labels.count(0), labels.count(1)) == (normal, 3)
    assert [sample for sample in data.samples if sample.label == 0 and sample.mask] == []
    found = scan_dataset(data)
    assert found.faults == ()
    for sample in found.data.samples:
        if sample.label:
            # The miniature writes into each file how many pixels its mask marks.
            assert sample.mask and MASKED[sample.mask] == MASKED[sample.image]


def test_the_miniatures_lie_as_the_layouts_say(tmp_path: Path) -> None:
    """Paths written out, so that a mistake that reader and miniature share is seen."""
    expected = {
        "mvtec": ("bottle/test/bent/000.png", "bottle/ground_truth/bent/000_mask.png", "bottle/test/good/000.png"),
        "visa": (
            "candle/Data/Images/Anomaly/000.JPG",
            "candle/Data/Masks/Anomaly/000.png",
            "candle/Data/Images/Normal/000.JPG",
        ),
        "btad": ("01/test/ko/000.bmp", "01/ground_truth/ko/000.png", "01/test/ok/000.bmp"),
        "brain": ("test/Ungood/img/000.png", "test/Ungood/label/000.png", "test/good/img/000.png"),
        "colon_kvasir": ("images/000.png", "masks/000.png"),
    }
    for name, (anomalous, mask, *normal) in expected.items():
        root = tmp_path / name
        for path in (anomalous, mask, *normal):
            image(root / path, 1)
        first = next(iter(FACTS[name]["classes"]))
        data = read(name, root, classes=[first])
        found = [(sample.label, sample.image, sample.mask) for sample in data.samples]
        assert (1, root / anomalous, root / mask) in found
        assert [item for item in found if item[0] == 0] == [(0, root / path, None) for path in normal]


def test_defects_are_named_where_the_folders_are(tmp_path: Path) -> None:
    miniature(tmp_path, "mpdd", ["tubes"])
    data = read("mpdd", tmp_path, classes=["tubes"])
    assert {sample.defect for sample in data.samples} == {"bent", "torn", None}


def test_options_choose_classes_and_names(tmp_path: Path) -> None:
    miniature(tmp_path, "visa", ["candle", "pcb1"])
    data = read("visa", tmp_path, classes=["pcb1"], real_names={"pcb1": "board"})
    assert (data.classes, data.real_names) == (("pcb1",), {"pcb1": "board"})


def test_every_class_must_be_there_or_left_out_by_name(tmp_path: Path) -> None:
    miniature(tmp_path, "visa", ["candle", "cashew"])
    with pytest.raises(UserError, match=r"has no folder for capsules, chewinggum, .*pipe_fryum") as caught:
        read("visa", tmp_path)
    assert "CLASS/Data/Images/Normal" in str(caught.value.fix)
    assert len(read("visa", tmp_path, classes=["candle", "cashew"]).samples) == 10


def test_a_missing_root_an_unknown_class_and_an_empty_class(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder") as caught:
        read("btad", tmp_path / "gone")
    assert "BTAD" in str(caught.value.fix)
    with pytest.raises(UserErrors, match="did you mean 'candle'"):
        read("visa", tmp_path, classes=["candel"])
    with pytest.raises(UserErrors, match="class 'Liver' has no images"):
        read("liver", tmp_path)


def counts(monkeypatch: pytest.MonkeyPatch, name: str, normal: int, anomalous: int) -> None:
    monkeypatch.setitem(FACTS[name], "published", {"normal": normal, "anomalous": anomalous})


def test_a_part_of_a_data_set_is_not_comparable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    miniature(tmp_path, "btad", ["01", "02", "03"])
    said = "there are 6 normal and 9 anomalous images, and 451 normal and 290 anomalous in the published split of BTAD"
    assert read("btad", tmp_path).not_comparable == said
    counts(monkeypatch, "btad", 6, 9)
    assert read("btad", tmp_path).not_comparable is None
    assert read("btad", tmp_path, classes=["01", "03"]).not_comparable == "2 of the 3 classes of BTAD are read"


def test_the_publishers_own_list_says_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    miniature(tmp_path, "visa", list(FACTS["visa"]["classes"]))
    assert "the list of the published split, split_csv/1cls.csv, is not below" in str(
        read("visa", tmp_path).not_comparable
    )
    rows = ["object,split,label,image,mask"]
    for name in FACTS["visa"]["classes"]:
        rows += [f"{name},train,normal,{name}/Data/Images/Normal/000.JPG,"]
        rows += [f"{name},test,normal,{name}/Data/Images/Normal/001.JPG,"]
        rows += [f"{name},test,anomaly,{name}/Data/Images/Anomaly/00{n}.JPG,m.png" for n in range(3)]
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text("\n".join(rows))
    counts(monkeypatch, "visa", 12, 36)
    data = read("visa", tmp_path)
    assert (len(data.samples), data.faults, data.not_comparable) == (48, (), None)
    assert {sample.image.name for sample in data.samples if not sample.label} == {"001.JPG"}
    assert len(read("visa", tmp_path, classes=["candle"]).samples) == 4
    (tmp_path / "candle/Data/Images/Normal/001.JPG").unlink()
    (fault,) = read("visa", tmp_path).faults
    assert fault.where == str(tmp_path / "candle/Data/Images/Normal/001.JPG")
    (tmp_path / "split_csv/1cls.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="is no list with object, split and image"):
        read("visa", tmp_path)


def test_an_image_without_its_mask_is_a_fault(tmp_path: Path) -> None:
    miniature(tmp_path, "retina", ["Retina"])
    (tmp_path / "test/Ungood/label/001.png").unlink()
    data = read("retina", tmp_path)
    (fault,) = data.faults
    assert fault.where == str(tmp_path / "test/Ungood/img/001.png")
    assert len(data.samples) == 4


def test_the_published_list_stands_in_for_the_folders(tmp_path: Path) -> None:
    """VisA's folders hold training images too; the list names those of the test split."""
    miniature(tmp_path, "visa", ["candle", "pcb1"])
    rows = [
        {"image_path": "candle/Data/Images/Normal/001.JPG", "label": 0, "class_name": "candle"},
        {
            "image_path": "candle/Data/Images/Anomaly/000.JPG",
            "label": 1.0,
            "class_name": "candle",
            "mask_path": "candle/Data/Masks/Anomaly/000.png",
        },
    ]
    (tmp_path / "visa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = read("visa", tmp_path, manifest=tmp_path / "visa.jsonl", real_names={"candle": "wax"})
    assert (data.name, data.domain, data.real_names) == ("visa", "industrial", {"candle": "wax"})
    assert [(sample.image.name, sample.label) for sample in data.samples] == [("000.JPG", 1), ("001.JPG", 0)]
    rows[0]["class_name"] = "candles"
    (tmp_path / "visa.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserErrors, match="no class 'candles'"):
        read("visa", tmp_path, manifest=tmp_path / "visa.jsonl")
