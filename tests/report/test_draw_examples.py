"""What a run leaves for its report: heatmaps, cases, and where its stages look."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from aaclip_kit import Sample
from aaclip_kit.data.decode import open_picture, resized
from aaclip_kit.data.decoded import read_mask
from aaclip_kit.experiment.schema import EvaluationTable
from aaclip_kit.record.examples_file import ExamplesFile
from aaclip_kit.record.heatmap import coloured, enlarged
from aaclip_kit.report.examples import _plain

from ..build import run_file
from ..conftest import EXPERIMENT

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path) -> Path:
    """The folder of a finished run with two heatmaps, for looking at only."""
    folder = tmp_path_factory.mktemp("pictured")
    (folder / "small.toml").write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
    run_file(folder / "small.toml", folder / "run", "evaluation.heatmaps=2")
    return folder / "run"


def test_cases_hold_each_loops_map_of_evenly_spaced_and_ranked_images(pictured: Path, defects: Path) -> None:
    found = ExamplesFile.read(pictured / "cases.npz")
    assert found.loops == (1, 2)
    assert found.grids.shape == (len(found.examples), 2, 4, 4)
    assert np.abs(found.grids[:, 0] - found.grids[:, 1]).max() > 0
    assert [case.chosen[0] for case in found.examples[:2]] == ["even", "even"]
    assert {case.label for case in found.examples[:2]} == {0, 1}
    reasons = [reason for case in found.examples for reason in case.chosen if reason != "even"]
    assert sorted(reasons) == sorted(
        f"{rank} {kind}" for rank in ("best", "median", "worst") for kind in ("anomalous", "normal")
    )
    for case, picture, mask in zip(found.examples, found.pictures, found.masks, strict=True):
        folder = defects / case.class_name
        image = open_picture(folder / "test" / (case.defect or "good") / case.image)
        np.testing.assert_array_equal(picture, np.asarray(resized(image, 32)))
        file = folder / "ground_truth" / "spot" / case.image.replace(".", "_mask.") if case.label else None
        sample = Sample(folder / case.image, case.class_name, 1 if case.label else 0, file)
        np.testing.assert_array_equal(mask, read_mask(sample, image.size, 32) > 0)
        assert case.masked
    attention = json.loads((pictured / "attention.json").read_text())
    assert [entry["stage"] for entry in attention["stages"]] == ["text_to_image", "image_to_text"]
    ranked = {place for place, case in enumerate(found.examples) if case.label and case.chosen != ("even",)}
    for entry in attention["stages"]:
        assert {case["case"] for case in entry["cases"]} == ranked


@pytest.mark.slow
def test_heatmaps_are_of_the_evenly_spaced_cases_on_the_cases_colour_scale(pictured: Path) -> None:
    found = ExamplesFile.read(pictured / "cases.npz")
    files = sorted((pictured / "heatmaps").glob("*.png"))
    assert len(files) == 2
    for file, case, grids in zip(files, found.examples, found.grids, strict=False):
        assert Path(case.image).stem in file.name
        expected = coloured(enlarged(grids[-1], 224), found.scale).astype(float)
        with Image.open(file) as sheet:
            drawn = np.asarray(sheet, float)[-224:, -224:]
        # The sheet enlarges the map of 32 pixels with a cubic; one step would put other colours in whole regions.
        assert np.abs(drawn - expected).mean() < 6


def test_without_heatmaps_a_run_keeps_no_pictures_and_still_reports(small_experiment: Path, tmp_path: Path) -> None:
    run_file(small_experiment, tmp_path / "run", "evaluation.heatmaps=0")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert "report.html" in left
    assert not left & {"heatmaps", "cases.npz", "attention.json"}


@pytest.mark.parametrize("letter", ["x", "\u87ba", "\U0001f529", "\u00e4", "e\u0301", "\udcff"])
def test_a_pictures_name_fits_a_file_system_that_counts_bytes(letter: str, tmp_path: Path) -> None:
    parts = [_plain(letter * length) for length in (45, 60, 51)]
    (tmp_path / f"00_{'_'.join(parts)}.png").touch()
    assert _plain("metal_nut-0.1") == "metal_nut-0.1" and len(parts[1].encode()) <= 60


def test_no_more_heatmaps_are_drawn_than_a_person_looks_at() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1000"):
        EvaluationTable(heatmaps=10**9)
