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


BAD = {
    "no JSON": ("{not json", "is no JSON (", "one JSON object a line"),
    "no object": ("[1]", "is no JSON object", "one JSON object a line"),
    "a number that is no label": (line(label=2), '"label" must be 0 or 1, not 2', "write 0 for a normal image"),
    "a truth value": (line(label=True), '"label" must be 0 or 1, not True', "write 0 for a normal image"),
    "a text for a label": (line(label="good"), "\"label\" must be 0 or 1, not 'good'", "write 0 for a normal image"),
    "no label": (json.dumps({"image_path": "candle/1.JPG", "class_name": "a"}), '"label" is missing', "write 0"),
    "no class": (line(name=""), '"class_name" is missing', "name the image's class"),
    "a class that is no text": (line(name=3), '"class_name" must be a text, not 3', "name the image's class"),
    "no image": (json.dumps({"label": 0, "class_name": "a"}), '"image_path" is missing', "give its path"),
    "an image that is not there": (line("gone.JPG"), '"image_path": there is no file ', "set `root`"),
    "a mask that is not there": (line(label=1, mask_path="gone.png"), '"mask_path": there is no file ', "set `root`"),
    "an image above the root": (line("../above.JPG"), '"image_path": ', "put the file below the root"),
    "an absolute path elsewhere": (line("/above.JPG"), "leads outside the root", "put the file below the root"),
    "a link that leads out": (line("candle/link.JPG"), "leads outside the root", "put the file below the root"),
    "a mask above the root": (line(label=1, mask_path="../above.JPG"), '"mask_path": ', "put the file below the root"),
    "no path at all": (line("a\0b"), '"image_path" is no path', "correct it"),
}


@pytest.mark.parametrize(("bad", "problem", "fix"), BAD.values(), ids=BAD)
def test_a_bad_row_is_named_with_file_line_key_and_fix(root: Path, bad: str, problem: str, fix: str) -> None:
    (root.parent / "above.JPG").write_bytes(b"")
    (root / "candle/link.JPG").symlink_to(root.parent / "above.JPG")
    data = read(write(root, line("candle/2.JPG"), "", bad))
    assert [sample.image.name for sample in data.samples] == ["2.JPG"], "the others are left to the engine"
    (fault,) = data.faults
    assert fault.where == f"{root / 'test.jsonl'}, line 3"
    assert problem in fault.problem
    assert fix in str(fault.fix)


def test_a_path_that_comes_back_into_the_root_is_inside(root: Path) -> None:
    assert not read(write(root, line("pipe_fryum/../candle/1.JPG"), line(str(root / "candle/2.JPG")))).faults


def test_two_rows_for_one_image(root: Path) -> None:
    data = read(write(root, line(), line("candle/2.JPG"), line("pipe_fryum/../candle/1.JPG", label=1)))
    (fault,) = data.faults
    assert str(fault.where).endswith("line 3")
    assert fault.problem.endswith("candle/1.JPG has a row already, line 1")
    assert fault.fix == "keep one of the two rows"
    assert [(sample.image.name, sample.label) for sample in data.samples] == [("1.JPG", 0), ("2.JPG", 0)]


def test_masks_are_wanted_from_all_images_or_from_none_of_a_class(root: Path) -> None:
    masked = line("candle/2.JPG", 1, mask_path="candle/2.png")
    data = read(write(root, line(label=1), masked, line("pipe_fryum/1.JPG", 1, "pipe_fryum", mask_path="")))
    (fault,) = data.faults
    assert str(fault.where).endswith("line 1")
    assert fault.problem == '"mask_path" is missing, and other images of its class have one'
    assert [(sample.class_name, sample.mask is None) for sample in data.samples] == [
        ("candle", False),
        ("pipe_fryum", True),
    ]


def test_the_mask_of_a_normal_image_is_given_where_it_is_there(root: Path) -> None:
    masks = ["candle/2.png", "candle/none.png", "../out.png", ""]
    for mask in masks:
        (sample,) = read(write(root, line("candle/1.JPG", 0, mask_path=mask))).samples
        assert sample.mask == (root / mask if mask == masks[0] else None)


def test_rows_of_classes_that_are_not_read_may_be_faulty(root: Path) -> None:
    data = read(write(root, line(), line("gone.JPG", 0, "pipe_fryum")), classes=["candle"])
    assert (data.classes, data.faults) == (("candle",), ())


def test_csv_with_any_order_of_columns(root: Path) -> None:
    file = root / "test.CSV"
    file.write_text(
        "label,image_path,note,mask_path,class_name\n"
        '1,candle/2.JPG,"two, in\nquotes",candle/2.png,candle\n'
        "0.0,candle/1.JPG,,,candle\n"
        "good,candle/1.JPG,,,candle\n"
        "0,candle/1.JPG,,,candle,5\n"
        "0\n",
        encoding="utf-8-sig",
    )
    data = read(file)
    assert [(s.image.name, s.label, s.mask) for s in data.samples] == [
        ("1.JPG", 0, None),
        ("2.JPG", 1, root / "candle/2.png"),
    ]
    said = [(str(fault.where).partition(", ")[2], fault.problem) for fault in data.faults]
    assert said == [
        ("line 5", "\"label\" must be 0 or 1, not 'good'"),
        ("line 6", "has 6 cells, and the first line 5"),
        ("line 7", '"class_name" is missing'),
    ]


def test_class_names_are_compared_with_their_letters_in_one_piece(root: Path) -> None:
    whole, apart = "d\u00e9", "de\u0301"
    file = write(root, line("candle/1.JPG", 0, whole), line("candle/2.JPG", 0, apart))
    assert read(file).classes == (whole,)
    assert len(read(file, classes=[apart]).samples) == 2


@pytest.mark.parametrize("options", [{}, {"classes": ["lid"]}], ids=["all classes", "chosen ones"])
def test_a_path_with_a_comma_without_quotes_is_a_fault_that_says_so(root: Path, options: dict[str, Any]) -> None:
    (root / "a,b.png").touch()
    path = root / "list.csv"
    path.write_text("image_path,label,class_name,mask_path\ncandle/1.JPG,0,lid,\na,b.png,0,lid\n")
    (fault,) = read(path, **options).faults
    assert fault.where == f"{path}, line 3" and fault.fix == 'put quotes around the path: "a,b.png"'


def test_csv_that_is_none(root: Path) -> None:
    (root / "a.csv").write_text("image;label\n")
    with pytest.raises(UserError, match="does not name the column class_name, image_path") as caught:
        read(root / "a.csv")
    assert str(caught.value.where).endswith("a.csv, line 1")
    (root / "a.csv").write_text('image_path,label,class_name\n"candle/1.JPG"x,0,candle\n')
    with pytest.raises(UserError, match="is no CSV") as caught:
        read(root / "a.csv")
    assert caught.value.fix


def test_an_unknown_class_a_missing_an_empty_and_a_binary_manifest(root: Path) -> None:
    with pytest.raises(UserErrors, match="did you mean 'candle'"):
        read(write(root, line()), classes=["candel"])
    with pytest.raises(UserError, match="there is no such file"):
        read(root / "gone.jsonl")
    with pytest.raises(UserError, match="names no image"):
        read(write(root, ""))
    (root / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no text in UTF-8"):
        read(root / "binary.jsonl")


def test_links_with_one_content_are_two_images(root: Path) -> None:
    (root / "candle/3.JPG").symlink_to(root / "candle/1.JPG")
    data = read(write(root, line(), line("candle/3.JPG", 1)))
    assert ([sample.image.name for sample in data.samples], data.faults) == (["1.JPG", "3.JPG"], ())


def test_a_table_of_a_spreadsheet(root: Path) -> None:
    """Semicolons, backslashes, blanks around cells, what pandas writes for nothing, rows without anything."""
    file = root / "table.csv"
    file.write_text(
        "image_path;label;class_name;mask_path;\r\n candle\\2.JPG; 1,0 ;candle ;candle\\2.png;\r\n"
        "candle\\1.JPG;0;candle;nan;\r\npipe_fryum\\1.JPG;1;pipe_fryum;NaN;\r\n;;;;\r\n",
        encoding="utf-8-sig",
    )
    data = read(file)
    assert data.faults == ()
    assert [(sample.class_name, sample.label, sample.mask) for sample in data.samples] == [
        ("candle", 0, None),
        ("candle", 1, root / "candle/2.png"),
        ("pipe_fryum", 1, None),
    ]


@pytest.mark.parametrize("nothing", [None, float("nan"), "NaN", " "])
def test_no_mask_and_a_blank_behind_a_class(root: Path, nothing: Any) -> None:
    data = read(write(root, line(label=1, name="candle ", mask_path=nothing), line("candle/2.JPG")))
    assert (data.classes, data.faults) == (("candle",), ())


@pytest.mark.parametrize("value", [255, 255.0, "255"])
def test_a_row_names_the_value_of_its_mask_that_is_left_out(root: Path, value: Any) -> None:
    masked = line("candle/2.JPG", 1, mask_path="candle/2.png", ignore=value)
    assert [sample.ignore for sample in read(write(root, line(ignore=""), masked)).samples] == [None, 255]


@pytest.mark.parametrize("value", [0, 65536, 2.5, True, "void", [255]])
def test_a_value_that_no_mask_can_have_is_a_fault(root: Path, value: Any) -> None:
    (fault,) = read(write(root, line("candle/2.JPG", 1, mask_path="candle/2.png", ignore=value))).faults
    assert fault.problem.startswith('"ignore" must be a whole number from 1 to 65535, not ')
