"""Reading a file, and `--set` overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import UserError
from aaclip_kit.experiment import read

FILE = """
seed = 7
[backbone]
use = "open_clip"
model = "ViT-B-32"
surgery_blocks = 4
[losses.text.plain]
use = "orthogonality"
weight = 0.25
[scheduler]
use = "feedback"
text_epochs = [1, 2]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file.toml"
    file.write_text(FILE)
    return file


def test_a_file_is_its_tables(path: Path) -> None:
    tables = read(path)
    assert tables["seed"] == 7
    assert tables["scheduler"] == {"use": "feedback", "text_epochs": [1, 2]}


def test_a_byte_order_mark_is_no_fault(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path)["seed"] == 7


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seed = ", "is not TOML"),
        (b"[backbone\nuse = 1", "is not TOML"),
        (b"seed = 1\nseed = 2", "is not TOML"),
        (b"x = " + b"[" * 20000, "is not TOML"),
        (b'name = "\xe9"', "cannot be read"),
    ],
)
def test_what_is_no_toml_is_refused(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read(path)
    assert caught.value.where == str(path)
    assert caught.value.fix


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        read(tmp_path / "none.toml")
    with pytest.raises(UserError, match="is a folder, and no file"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-4", 1e-4),
        ("true", True),
        ('"3"', "3"),
        ("red_cloth", "red_cloth"),
        ("some words", "some words"),
        ("a=b", "a=b"),
        ("/data/set one", "/data/set one"),
        ("~/data", "~/data"),
        ("cuda:1", "cuda:1"),
        ("", ""),
        ("[1, 2]", [1, 2]),
        ("[]", []),
        ('["a", "b"]', ["a", "b"]),
        ("[red_cloth, green_wood]", ["red_cloth", "green_wood"]),
        ("[red_cloth,]", ["red_cloth"]),
        ("['a', b]", ["a", "b"]),
        ("[001, 002]", ["001", "002"]),
        ("{ a = 1 }", {"a": 1}),
        ("[unclosed", "[unclosed"),
    ],
)
def test_values_are_toml_or_plain_words(path: Path, text: str, value: Any) -> None:
    found = read(path, [f"a.b={text}"])["a"]["b"]
    assert found == value
    assert type(found) is type(value)


def test_overrides_change_what_they_name_and_nothing_else(path: Path) -> None:
    before = read(path)
    after = read(path, ["seed=8", " scheduler . text_epochs =[3]", "data.train.root=x"])
    assert (after["seed"], after["scheduler"]["text_epochs"]) == (8, [3])
    assert after["data"] == {"train": {"root": "x"}}
    assert after["backbone"] == before["backbone"]
    assert path.read_text() == FILE


def test_the_last_override_of_a_key_counts(path: Path) -> None:
    assert read(path, ["seed=8", "seed=9"])["seed"] == 9


def test_a_new_component_discards_the_keys_of_the_old_one(path: Path) -> None:
    assert read(path, ["backbone.use=other"])["backbone"] == {"use": "other"}


def test_the_same_component_keeps_its_keys(path: Path) -> None:
    assert read(path, ["backbone.use=open_clip"])["backbone"] == read(path)["backbone"]


@pytest.mark.parametrize("order", [1, -1])
def test_overrides_of_a_new_component_hold_in_any_order(path: Path, order: int) -> None:
    overrides = ["backbone.use=other", "backbone.width=5"][::order]
    assert read(path, overrides)["backbone"] == {"use": "other", "width": 5}


def test_a_new_loss_keeps_the_weight_that_the_engine_reads(path: Path) -> None:
    assert read(path, ["losses.text.plain.use=mine"])["losses"]["text"]["plain"] == {"use": "mine", "weight": 0.25}


def test_a_new_stage_stands_where_the_old_one_stood(path: Path) -> None:
    path.write_text('[stages.a]\nuse = "mine"\ntower = "vision"\nafter = [0, 3, 6]\nscale = 0.5\n')
    stood = {"tower": "vision", "after": [0, 3, 6]}
    assert read(path, ["stages.a.use=image_to_text"])["stages"]["a"] == {"use": "image_to_text", **stood}
    moved = read(path, ["stages.a.after=[1]", "stages.a.use=image_to_text"])
    assert moved["stages"]["a"] == {"use": "image_to_text", **stood, "after": [1]}


def test_use_of_a_table_that_is_no_component_discards_nothing(path: Path) -> None:
    tables = read(path, ["use=other", "losses.use=other"])
    assert tables["seed"] == 7
    assert tables["losses"]["text"] == read(path)["losses"]["text"]


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=3", ".a=3", "", "a b"])
def test_an_override_without_key_or_value_is_refused(path: Path, override: str) -> None:
    with pytest.raises(UserError, match=r"not of the form table\.key=value") as caught:
        read(path, [override])
    assert caught.value.where == "--set"
    assert caught.value.fix


@pytest.mark.parametrize(("override", "value"), [("seed.x=1", "seed"), ("backbone.model.x.y=1", "backbone.model")])
def test_an_override_through_a_value_is_refused(path: Path, override: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{value} is a value, not a table") as caught:
        read(path, [override])
    assert override in str(caught.value.where)
    assert caught.value.fix
