from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit.record.heatmap import coloured, enlarged
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.report.examples_section import SIDE, first_and_quoted, section, shown_loops
from aaclip_kit.report.figures import Budget, Picture, embedded_pictures
from aaclip_kit.report.run_files import RunFiles

from .folders import new_folder, old_folder, read


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    return RunFiles(new_folder(tmp_path / "run").path)


def pixels(picture: Picture) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(picture.uri.partition(",")[2]))) as opened:
        return np.asarray(opened.convert("RGB"), float)


def test_best_median_and_worst_come_first_and_those_without_a_choice_later(run: RunFiles) -> None:
    shown = section(run, Budget())
    assert [(row.reason, row.title) for row in shown["first"]] == [
        ("best anomalous image", "tile, crack, 1.png"),
        ("median and worst anomalous image", "wood, anomalous, 3.png"),
    ]
    assert [row.title for row in shown["rows"]] == ["tile, crack, 1.png", "wood, normal, <b>.png"]
    assert shown["ranked"] == []
    html = read(new_folder(run.folder.parent / "again"))[0]
    first, tables, even = (html.index(words) for words in ("best anomalous image", "<table", "Evenly spaced"))
    assert html.index("The weights after loop 2") < first < tables < even
    assert "on loop 2, by this and that" in html and "The maps of" not in html


def test_normal_images_come_first_where_no_image_is_anomalous(run: RunFiles) -> None:
    assert run.examples is not None
    normal = tuple(replace(one, label=0, chosen=("best normal",)) for one in run.examples.examples)
    run.examples = replace(run.examples, examples=normal)
    shown = section(run, Budget())
    assert [row.reason for row in shown["first"]] == ["best normal image"] * 3 and shown["ranked"] == []


def test_each_case_is_image_mask_and_the_maps_of_the_first_and_the_quoted_loop(run: RunFiles) -> None:
    tile, wood = section(run, Budget())["rows"]
    assert [panel.caption for panel in tile.panels] == ["image", "mask", "loop 1", "loop 2"]
    assert [panel.detail.replace("\xa0", " ") for panel in tile.panels] == [
        "", "", "score 0.250, AP 0.50", "score 0.750, AP 0.88",
    ]  # fmt: skip
    assert [(panel.caption, panel.picture is None) for panel in wood.panels][1] == ("normal", True)
    assert wood.panels[2].detail.replace("\xa0", " ") == "score 0.250"
    assert first_and_quoted((1, 2, 3), 2) == [0, 1]
    assert first_and_quoted((1, 2, 3), None) == [0, 2]
    assert first_and_quoted((1,), 1) == [0]


def test_maps_of_further_loops_are_folded_in_at_the_end(run: RunFiles) -> None:
    file = run.examples
    assert file is not None and section(run, Budget())["every"] == []
    examples = tuple(replace(one, scores=(*one.scores, 0.5), quality=(*one.quality, None)) for one in file.examples)
    grids = np.concatenate([file.grids, file.grids[:, :1]], axis=1)
    run.examples = replace(file, examples=examples, loops=(1, 2, 3), grids=grids)
    every = section(run, Budget())["every"]
    assert [[panel.caption for panel in row.panels] for row in every] == [["loop 1", "loop 2", "loop 3"]] * 2
    run.examples.write(run.folder / "cases.npz")
    html = read(RunFolder(run.folder))[0]
    assert html.index('id="what-ran"') < html.index("<summary>The maps of each model</summary>")


def test_all_maps_have_the_files_colour_scale(run: RunFiles) -> None:
    file = run.examples
    assert file is not None
    shown = section(run, Budget())
    for row, place in zip(shown["rows"], (0, 1), strict=True):
        for loop, panel in enumerate(row.panels[2:]):
            expected = coloured(enlarged(file.grids[place, loop], SIDE), file.scale)
            assert np.abs(pixels(panel.picture) - expected).mean() < 2, "but for JPEG"
    bar = pixels(shown["scale"]["bar"])
    assert (shown["scale"]["low"], shown["scale"]["high"]) == ("normal, -1", "3, anomalous")
    assert np.abs(bar[6, [0, -1]] - coloured(np.array([[-1.0, 3.0]]), (0, 1))[0]).max() < 12


def test_of_many_loops_a_few_are_shown_and_the_quoted_one_among_them() -> None:
    assert shown_loops((1, 2, 3, 4), 2) == [0, 1, 2, 3]
    assert shown_loops(tuple(range(1, 11)), 10) == [0, 3, 6, 9]
    assert shown_loops(tuple(range(1, 11)), 6) == [0, 4 - 1, 5, 9]
    assert shown_loops(tuple(range(1, 11)), None) == [0, 3, 6, 9]


def test_ranked_cases_have_the_first_room_and_what_is_left_out_is_counted(run: RunFiles) -> None:
    shown = section(run, Budget(1))
    assert (len(shown["first"]), len(shown["rows"]), shown["left_out"]) == (2, 0, 2)


def test_of_an_older_run_the_heatmaps_are_shown(tmp_path: Path) -> None:
    shown = section(RunFiles(old_folder(tmp_path / "run").path), Budget())
    assert shown["rows"] is None
    assert [picture.alt for picture in shown["pictures"]] == ["tile crack"]


def noisy(folder: Path, count: int) -> list[Path]:
    files = [folder / f"{index:02d}.png" for index in range(count)]
    for index, file in enumerate(files):
        noise = np.random.default_rng(index).integers(0, 256, (200, 600, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file)
    return files


def test_pictures_stay_within_the_budget(tmp_path: Path) -> None:
    files = noisy(tmp_path, 4)
    size = files[0].stat().st_size
    kept, left_out = embedded_pictures(files, budget=5 * size)
    assert (len(kept), left_out) == (4, 0)
    assert all(picture.uri.startswith("data:image/png;") for picture in kept)
    kept, left_out = embedded_pictures(files, budget=size // 2)
    assert len(kept) + left_out == 4
    assert 0 < len(kept) < 4
    assert all(picture.uri.startswith("data:image/jpeg;") for picture in kept)
    assert sum(len(picture.uri) for picture in kept) < size / 2 * 4 / 3 + 400


def test_heatmaps_that_were_left_out_are_counted(tmp_path: Path) -> None:
    run = old_folder(tmp_path / "run")
    noisy(run.heatmaps, 60)
    html, page = read(run)
    shown = html.count('loading="lazy"')
    assert 1 < shown < 61
    assert f"{61 - shown} more in the run folder" in page.text
    assert len(html) < 5_000_000
