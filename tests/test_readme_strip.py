"""The README's strip shows one anomalous test image of each class, whatever its score."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from aaclip_kit import UserError
from aaclip_kit.record.examples_file import Example, ExamplesFile

SCRIPT = Path(__file__).parents[1] / "tools" / "readme_strip.py"
SIDE = 16


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = spec_from_file_location("readme_strip", SCRIPT)
    assert specification and specification.loader
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def case(name: str, label: int, chosen: str, masked: bool = True) -> Example:
    return Example(name, f"{name}.png", label, None, masked=masked, chosen=(chosen,), quality=(None,), scores=(0.0,))


def case_file(*cases: Example) -> ExamplesFile:
    count = len(cases)
    pictures = np.full((count, SIDE, SIDE, 3), 90, np.uint8)
    return ExamplesFile(
        examples=cases,
        loops=(1,),
        scale=(0.0, 1.0),
        rule="",
        pictures=pictures,
        masks=np.ones((count, SIDE, SIDE), bool),
        grids=np.zeros((count, 1, 2, 2), np.float32),
    )


def test_the_first_even_anomalous_image_of_each_class_is_shown(script: ModuleType) -> None:
    file = case_file(
        case("tile", 0, "even"),
        case("tile", 1, "best anomalous"),
        case("tile", 1, "even"),
        case("tile", 1, "even"),
        case("wood", 1, "even", masked=False),
        case("rope", 1, "even"),
    )
    assert script.chosen(file) == [2, 5]
    sheet = script.strip(file)
    assert sheet.width == script.MARGIN + 2 * script.SIDE + script.GAP
    assert sheet.height == script.HEAD + 3 * script.SIDE + 2 * script.GAP


def test_a_run_without_such_an_image_is_one_error(script: ModuleType) -> None:
    with pytest.raises(UserError, match="holds no anomalous image"):
        script.strip(case_file(case("tile", 0, "even")))


def test_an_overlay_is_grey_where_the_map_is_lowest_and_colour_where_it_is_highest(script: ModuleType) -> None:
    picture = np.zeros((1, 2, 3), np.uint8) + np.array([30, 60, 90], np.uint8)
    found = script.overlay(picture, np.array([[-5.0, 7.0]]), (0.0, 1.0))
    assert found[0, 0].tolist() == [60, 60, 60]
    assert found[0, 1].tolist() == script.coloured(np.array([[1.0]]), (0.0, 1.0))[0, 0].tolist()
