from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aaclip_kit_plugins.manifest import register_data_sets

from aaclip_kit import DataSet, UserError, UserErrors

from .registered import registered


def read(manifest: Path, **options: Any) -> DataSet:
    factory, model = registered(register_data_sets)["manifest"]
    return factory(model(manifest=manifest, **options))


def line(image: str = "candle/1.JPG", label: Any = 0, name: Any = "candle", **others: Any) -> str:
    return json.dumps({"image_path": image, "label": label, "class_name": name, **others})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for file in ("candle/1.JPG", "candle/2.JPG", "candle/2.png", "pipe_fryum/1.JPG"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    return tmp_path


def write(root: Path, *lines: str) -> Path:
    path = root / "test.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_reads_the_published_lines(root: Path) -> None:
    file = write(
        root,
        line("pipe_fryum/1.JPG", 0.0, "pipe_fryum", mask_path=""),
        "",
        line("candle/2.JPG", 1.0, "candle", mask_path="candle/2.png", note="kept out"),
        line("candle/1.JPG", 0, "candle", mask_path=None),
    )
    data = read(file)
    seen = [(s.class_name, s.label, s.image, s.mask) for s in data.samples]
    assert seen == [
        ("candle", 0, root / "candle/1.JPG", None),
        ("candle", 1, root / "candle/2.JPG", root / "candle/2.png"),
        ("pipe_fryum", 0, root / "pipe_fryum/1.JPG", None),
    ]
    assert data.real_names == {"candle": "candle", "pipe_fryum": "pipe fryum"}


def test_options_choose_root_classes_names_and_domain(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = write(tmp_path_factory.mktemp("elsewhere"), line(), line("pipe_fryum/1.JPG", 0, "pipe_fryum"))
    names = {"candle": "wax candle"}
    data = read(file, root=root, classes=["candle"], real_names=names, domain="medical")
    assert [sample.image for sample in data.samples] == [root / "candle/1.JPG"]
    assert (data.real_names, data.domain) == (names, "medical")


def test_every_bad_line_is_named_with_its_number(root: Path) -> None:
    file = write(
        root,
        line(),
        "{not json",
        "[1]",
        line(label=2),
        line(label=True),
        line(name=""),
        line("gone.JPG"),
        line(label=1),
        line(label=1, mask_path="candle/gone.png"),
        json.dumps({"label": 0, "class_name": "candle"}),
    )
    with pytest.raises(UserErrors) as caught:
        read(file)
    problems = [str(fault) for fault in caught.value.faults]
    expected = ["no JSON (", "no JSON object", "not 2", "not True", '"class_name"', "gone.JPG"]
    expected += ['"mask_path" must be a path', "gone.png", '"image_path" must be a path']
    assert len(problems) == len(expected)
    for number, (problem, part) in enumerate(zip(problems, expected, strict=True), start=2):
        assert f"test.jsonl, line {number}:" in problem
        assert part in problem


def test_a_flood_of_bad_lines_is_cut_short(root: Path) -> None:
    with pytest.raises(UserErrors) as caught:
        read(write(root, *[line(f"gone{number}.JPG") for number in range(25)]))
    assert len(caught.value.faults) == 11
    assert "15 more lines are wrong" in str(caught.value)


def test_an_unknown_class_a_missing_an_empty_and_a_binary_manifest(root: Path) -> None:
    with pytest.raises(UserErrors, match="did you mean 'candle'"):
        read(write(root, line()), classes=["candel"])
    with pytest.raises(UserError, match="cannot be read"):
        read(root / "gone.jsonl")
    with pytest.raises(UserError, match="names no image"):
        read(write(root, ""))
    (root / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no text in UTF-8"):
        read(root / "binary.jsonl")
