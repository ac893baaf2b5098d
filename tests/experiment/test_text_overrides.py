"""`--set` where a text is wanted: the characters are the text, whatever TOML would make of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover


@pytest.mark.parametrize("text", ["2024-05-01", "12:30:00", "7", "1.50", "true", "nan", "0x10", "{a=1}", "1e3"])
def test_a_path_is_its_characters(small_experiment: Path, text: str) -> None:
    experiment = load(small_experiment, discover(), [f"data.test.root={text}"])
    assert experiment.data["test"][0].options.root == Path(text)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "classes"),
    [("[7]", ("7",)), ("[01, 2]", ("01", "2")), ("[1.50, true, x]", ("1.50", "true", "x")), ("[2024-05-01]", None)],
)
def test_a_list_of_texts_is_their_characters(
    small_experiment: Path, text: str, classes: tuple[str, ...] | None
) -> None:
    experiment = load(small_experiment, discover(), [f"data.test.classes={text}"])
    assert experiment.data["test"][0].options.classes == (classes or ("2024-05-01",))  # type: ignore[attr-defined]


def test_a_name_and_a_key_of_a_table_too(small_experiment: Path) -> None:
    experiment = load(small_experiment, discover(), ["name=7", "seed=8", "data.test.real_names.green_wood=12"])
    assert (experiment.file.name, experiment.file.seed) == ("7", 8)
    assert experiment.data["test"][0].options.real_names == {"green_wood": "12"}  # type: ignore[attr-defined]


TEXTS = {"2024-05-01": "2024-05-01", "7": "7", '"a, b"': "a, b", "1.50": "1.50", "two words": "two words"}


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_a_table_in_one_line_are_their_characters(small_experiment: Path, text: str) -> None:
    experiment = load(small_experiment, discover(), [f"data.test.real_names={{green_wood={text}, 'a b' = true}}"])
    names = {"green_wood": TEXTS[text], "a b": "true"}
    assert experiment.data["test"][0].options.real_names == names  # type: ignore[attr-defined]


def test_where_a_number_is_wanted_a_date_is_a_fault(small_experiment: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(small_experiment, discover(), ["seed=2024-05-01", "data.test.root=7"])
    (fault,) = caught.value.faults
    assert str(fault.where).endswith("small.toml: seed")


@pytest.mark.parametrize(("value", "shown"), [("2024-05-01", "2024-05-01"), ("true", "true"), ("7", "7")])
def test_a_value_of_a_file_that_lacks_its_quotes_is_shown_as_it_stands_there(
    small_experiment: Path, value: str, shown: str
) -> None:
    text = small_experiment.read_text()
    small_experiment.write_text(
        text.replace('[data.test]\nuse = "folder"\nroot = ', f"[data.test]\nuse = 'folder'\nroot = {value} #")
    )
    with pytest.raises(UserError, match=rf"data\.test\.root: input is not a valid path \(given: {shown}\)") as caught:
        load(small_experiment, discover())
    assert str(caught.value.faults[0].fix).startswith("put quotes around it; ")


def test_a_file_has_types(small_experiment: Path) -> None:
    small_experiment.write_text(small_experiment.read_text().replace('name = "small"', "name = 7"))
    with pytest.raises(UserError, match="valid string"):
        load(small_experiment, discover())


@pytest.mark.parametrize(("override", "fix"), [("data.test.root", "data.test.root=VALUE"), ("a..b", "seed=7")])
def test_a_key_without_a_value(small_experiment: Path, override: str, fix: str) -> None:
    with pytest.raises(UserError, match=r"not of the form table\.key=value") as caught:
        load(small_experiment, discover(), [override])
    assert caught.value.fix == f"write --set {fix}"


@pytest.mark.parametrize("key", ["data.test.root", "cache.folder", "init.checkpoint"])
def test_a_backslash_that_made_a_control_character_is_told(small_experiment: Path, key: str) -> None:
    with pytest.raises(UserError, match=r"is no path that is there: it holds .*single quotes"):
        load(small_experiment, discover(), [f'{key}="C:\\temp\\bottle"'])
    with pytest.raises(UserError, match="is no path"):
        load(small_experiment, discover(), [f'{key}="C:\\temp{"x" * 5000}"'])


@pytest.mark.parametrize("line", [r'root = "C:\data"', r'root = "C:\Ulm"'])
def test_a_backslash_that_is_no_escape_is_told_too(small_experiment: Path, line: str) -> None:
    small_experiment.write_text(small_experiment.read_text() + "\n[x]\n" + line)
    with pytest.raises(UserError, match="is not TOML") as caught:
        load(small_experiment, discover())
    assert "single quotes" in str(caught.value.fix)


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "9" * 5000, "9223372036854775808", "[[0b" + "1" * 70 + "]]"])
def test_integers_of_more_than_64_bits_are_refused(small_experiment: Path, number: str) -> None:
    small_experiment.write_text(f"x = {number}\n" + small_experiment.read_text())
    with pytest.raises(UserError, match="is not TOML"):
        load(small_experiment, discover())


@pytest.mark.parametrize("table", ["name", "stages"])
def test_names_have_an_end(small_experiment: Path, table: str) -> None:
    long = "x" * 60_000
    override = f"name={long}" if table == "name" else f"stages.{long}.use=residual_adapter"
    with pytest.raises(UserError) as caught:
        load(small_experiment, discover(), [override])
    assert len(str(caught.value)) < 10_000
