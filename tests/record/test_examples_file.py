from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aaclip_kit import UserError
from aaclip_kit.record.examples_file import ExamplesFile

from ..report.folders import case_file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = case_file("Ünïcode <b>")
    written.write(tmp_path / "cases.npz")
    found = ExamplesFile.read(tmp_path / "cases.npz")
    assert (found.examples, found.loops, found.scale, found.rule) == (
        written.examples, written.loops, written.scale, written.rule,
    )  # fmt: skip
    for name in ("pictures", "masks", "grids"):
        stored, given = getattr(found, name), getattr(written, name)
        assert stored.dtype == given.dtype
        np.testing.assert_array_equal(stored, given)


def test_equal_cases_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        case_file().write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"{}"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "cases.npz"
    case_file().write(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"cases\.npz: is damaged"):
        ExamplesFile.read(path)
