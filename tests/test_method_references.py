"""Every "method: section N" in the code leads to a heading, or a row of a table, of docs/reference/method.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
METHOD = ROOT / "docs" / "reference" / "method.md"
API = ROOT / "docs" / "reference" / "api.md"
REFERENCE = re.compile(r"\bmethod: sections? (?P<numbers>\d+(?:(?:, | and | to )\d+)*)(?:, row (?P<row>\d+))?")
LOOSE = re.compile(r"\bmethod(?::|,| is) ?\(?(?:section|§|\d)|\bmethod\.md, section|\brow \d+ of the method")


def sections(page: str) -> dict[int, set[int]]:
    """Numbers of the page's headings, each with the numbers of the rows of its tables."""
    parts = re.split(r"^## (\d+)\. ", page, flags=re.MULTILINE)[1:]
    numbers, texts = parts[::2], parts[1::2]
    return {
        int(number): {int(row) for row in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
        for number, text in zip(numbers, texts, strict=True)
    }


def references(text: str) -> Iterator[tuple[list[int], int | None]]:
    """Sections and row of each reference: "3, 4", "3 and 4", "3 to 5"."""
    for found in REFERENCE.finditer(text):
        spans = [part.split(" to ") for part in re.split(", | and ", found["numbers"])]
        named = [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]
        yield named, int(found["row"]) if found["row"] else None


def lost(text: str, page: dict[int, set[int]]) -> list[str]:
    """What the references of a text name and the page has not; and references that are spelled in another way."""
    missing = [match[0] for match in LOOSE.finditer(text) if not REFERENCE.match(text, match.start())]
    for named, row in references(text):
        missing += [f"section {number}" for number in named if number not in page]
        missing += [f"row {row}"] if row and row not in page.get(named[0], set()) else []
    return missing


def sources() -> list[Path]:
    folders = ("aaclip_kit", "plugins", "benchmarks", "tests")
    files = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [API, *sorted(path for path in files if path != Path(__file__))]


def test_the_method_has_nine_sections_and_thirteen_rows() -> None:
    page = sections(METHOD.read_text(encoding="utf-8"))
    assert list(page) == list(range(1, 10))
    assert page[9] == set(range(1, 14))


def test_every_reference_to_a_section_of_the_method_resolves() -> None:
    page = sections(METHOD.read_text(encoding="utf-8"))
    texts = {path: " ".join(path.read_text(encoding="utf-8").split()) for path in sources()}
    assert not {str(path.relative_to(ROOT)): faults for path, text in texts.items() if (faults := lost(text, page))}
    cited = {number for text in texts.values() for named, _ in references(text) for number in named}
    assert cited >= {2, 3, 4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("(method: section 4)", []),
        ("(method: sections 3 and 9, row 2)", ["row 2"]),
        ("(method: section 9, row 2)", []),
        ("(method: section 9, row 3)", ["row 3"]),
        ("(method: section 10)", ["section 10"]),
        ("(method: sections 3 to 5)", ["section 5"]),
        ("(method: sections 3, 4 and 6)", ["section 6"]),
        ("(method: 3, 4)", ["method: 3"]),
        ("the method, section 6", ["method, section"]),
        ("method: str", []),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(text: str, missing: list[str]) -> None:
    assert lost(text, {3: set(), 4: set(), 9: {1, 2}}) == missing
