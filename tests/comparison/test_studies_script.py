"""The script that writes the documentation's tables from finished ablations."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from aaclip_kit import UserError
from aaclip_kit.comparison.ablation_plan import read_study

from .made import write_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def studies() -> ModuleType:
    specification = importlib.util.spec_from_file_location("studies", ROOT / "benchmarks" / "studies.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def write_variant(folder: Path, shift: float) -> None:
    for seed in (111, 112, 113):
        values = {name: {"pixel_auroc": 0.8 + shift, "image_auroc": 0.7} for name in "abcde"}
        write_run(folder / f"seed_{seed}", seed, [values])


def test_the_tables_of_what_has_finished(studies: ModuleType, tmp_path: Path) -> None:
    write_variant(tmp_path / "base", 0.0)
    write_variant(tmp_path / "feedback", 0.01)
    write_variant(tmp_path / "drawings_to_photographs" / "base", 0.0)
    text = studies.tables("ablation", tmp_path)
    assert text.count("Against `base` on drawn and blended data, seeds 111 to 113:") == 1
    assert "| feedback | 3 | 0.8100 ± 0.0000 | +0.0100 | +0.0100 to +0.0100 | +0.0100 to +0.0100 | shown |" in text
    assert "Against `feedback` on drawn and blended data" in text
    assert "| base | 3 | 0.8000 ± 0.0000 | -0.0100 |" in text
    assert "Against `base` on `drawings_to_photographs`" in text
    with pytest.raises(UserError, match="holds no finished run of this study"):
        studies.tables("switches", tmp_path)


def test_what_runs_took_stands_beside_their_figures(studies: ModuleType, tmp_path: Path) -> None:
    values = {name: {"pixel_auroc": 0.8, "image_auroc": 0.7} for name in "abcde"}
    for variant, seconds in (("base", 61.0), ("win_clip", 7.0)):
        for seed in (111, 112):
            took = {"processor_seconds": seconds, "peak_memory_bytes": 1_200_000_000}
            write_run(tmp_path / variant / f"seed_{seed}", seed, [values], facts=took)
    text = studies.tables("family", tmp_path)
    assert "| difference is | processor seconds | memory at its peak, GB |" in text
    assert "| baseline | 61 | 1.20 |" in text
    assert "| +0.0000 to +0.0000 | not shown | 7 | 1.20 |" in text


def test_only_the_text_between_the_markers_changes(studies: ModuleType) -> None:
    page = "before\n<!-- begin x -->\nold\n<!-- end x -->\nafter\n"
    assert studies.between_markers(page, "x", "new\n") == page.replace("old", "new")
    for bad in ("nothing", page + page):
        with pytest.raises(UserError, match="needs the markers"):
            studies.between_markers(bad, "x", "new\n")


def test_every_page_has_its_markers_and_every_baseline_is_a_variant(studies: ModuleType) -> None:
    for study, page in studies.PAGES.items():
        studies.between_markers((ROOT / "docs" / "notebook" / page).read_text(), study, "")
        variants = read_study(ROOT / studies.FILES[study]).variants
        assert set(studies.BASELINES[study]) <= variants.keys()
