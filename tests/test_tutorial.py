"""The tutorial does what it says: its blocks are run in their order, in an empty folder of a fresh environment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fresh import Fresh

PAGE = Path(__file__).parents[1] / "docs" / "plugins" / "tutorial.md"
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: title=\"(?P<words>.*?)\")?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
MEANT_FOR_READERS = {"toml"}


def blocks() -> Iterator[tuple[str, list[str], str]]:
    """Language, words of the title, and text of each block."""
    for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        yield match["kind"], (match["words"] or "").split(), match["body"]


def write(file: Path, body: str, how: list[str]) -> None:
    """A file as a whole; or lines put in the place of the last of them, which was there; or lines at its end."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if how == ["replaces"]:
        last = body.splitlines(keepends=True)[-1]
        assert text.count(last) == 1, f"{file.name} does not hold the line that is replaced, once"
        file.write_text(text.replace(last, body), encoding="utf-8")
    elif how == ["appends"]:
        file.write_text(f"{text}\n{body}", encoding="utf-8")
    else:
        assert not how
        file.write_text(body, encoding="utf-8")


def appears(expected: str, output: str) -> bool:
    """Whether all lines of a block stand in the output in their order; "..." is anything, and blanks do not count."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    found = iter(lines)
    for wanted in expected.splitlines():
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in " ".join(wanted.split()).split("...")))
        if not any(pattern.search(line) for line in found):
            return False
    return True


def test_lines_are_found_in_their_order_only() -> None:
    assert appears("a ... c\nd", "x\na  b c\n\nE   d\n")
    assert not appears("d\na", "a\nd")
    assert not appears("a ... d", "a b c\nd")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    return Fresh(tmp_path_factory.mktemp("fresh") / "environment")


@pytest.mark.slow
def test_every_block_does_what_the_page_says(fresh: Fresh, tmp_path: Path) -> None:
    folder, output, seen = tmp_path, "", set[str]()
    for kind, words, body in blocks():
        seen.add(kind)
        if kind == "sh":
            ran = fresh.shell(f"{body}\npwd > {tmp_path}/.folder", folder)
            output = ran.stdout + ran.stderr
            assert (ran.returncode != 0) == (words == ["fails"]), f"{body}\n{output}"
            if not words:
                folder = Path((tmp_path / ".folder").read_text().strip())
        elif kind == "text":
            assert appears(body, output), f"expected:\n{body}\nfound:\n{output}"
        elif kind == "python":
            write(folder / words[0], body, words[1:])
        else:
            assert kind in MEANT_FOR_READERS, f"a block of {kind} is neither run nor known to be for readers"
    assert seen == {"sh", "text", "python", "toml"}
    assert (folder / "runs" / "compare" / "comparison.html").is_file()
