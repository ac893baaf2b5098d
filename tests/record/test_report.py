from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import UserError
from aaclip_kit.record.embedding import embedded_pictures
from aaclip_kit.record.folder import RunFolder
from aaclip_kit.record.report import write_report


class Cells(HTMLParser):
    """Collects the text of every table row, and the attributes of every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")
        if self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def values(base: float, image: float | None = 0.5) -> dict[str, Any]:
    row = {"pixel_auroc": base, "pixel_ap": base / 2, "image_auroc": image, "image_ap": image}
    return {"classes": {"tile": row, "wood": {**row, "pixel_auroc": base + 0.1}}, "mean": row}


METRICS = {
    "before": values(0.5),
    "loops": [{"loop": 1, **values(0.6)}, {"loop": 2, **values(0.7004, image=None)}],
    "rules": {"darkness": values(0.4), "colour_distance": values(0.45)},
    "quoted": {"loop": 2, "rule": "last"},
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path / "run")
    made.write_experiment('name = "tiny"\nprofile = "corrected"\n# <script>alert(1)</script>\n')
    made.write_manifest(
        {
            "versions": {"python": "3.11.7"},
            "plugins": {"losses": "0.1.0"},
            "git": {"commit": "abc123", "modified": True},
            "device": {"name": "cpu", "model": "A processor"},
            "seeds": {"run": 111},
            "data": {"test": {"count": 12, "classes": ["tile", "wood"], "sha256": "ab"}},
            "started": "2025-03-09T10:00:00+00:00",
            "seconds": 90.0,
            "peak_memory_bytes": 1_500_000_000,
        }
    )
    made.write_metrics(METRICS)
    for count in range(3):
        made.event({"event": "step", "loop": 1, "phase": "vision", "loss": 3.0 - count})
    Image.new("RGB", (30, 10), "red").save(made.heatmaps / "tile_crack.png")
    return made


def read(run: RunFolder) -> tuple[str, Cells]:
    path = write_report(run.path)
    assert path == run.report
    html = path.read_text(encoding="utf-8")
    cells = Cells()
    cells.feed(html)
    return html, cells


def test_the_loop_table_holds_before_loops_and_rules(run: RunFolder) -> None:
    _, cells = read(run)
    start = cells.rows.index(["model", "pixel AUROC", "pixel AP", "image AUROC", "image AP"])
    assert cells.rows[start + 1 : start + 6] == [
        ["before training", "0.500", "0.250", "0.500", "0.500"],
        ["loop 1", "0.600", "0.300", "0.500", "0.500"],
        ["loop 2", "0.700", "0.350", "-", "-"],
        ["rule: colour distance", "0.450", "0.225", "0.500", "0.500"],
        ["rule: darkness", "0.400", "0.200", "0.500", "0.500"],
    ]


def test_the_class_table_is_of_the_quoted_loop(run: RunFolder) -> None:
    html, cells = read(run)
    start = cells.rows.index(["class", "pixel AUROC", "pixel AP", "image AUROC", "image AP"])
    assert cells.rows[start + 1 : start + 4] == [
        ["tile", "0.700", "0.350", "-", "-"],
        ["wood", "0.800", "0.350", "-", "-"],
        ["mean", "0.700", "0.350", "-", "-"],
    ]
    assert "Quoted: loop 2 (rule: last)" in html


def test_an_undefined_value_carries_its_reason(run: RunFolder) -> None:
    _, cells = read(run)
    reasons = [value for tag, name, value in cells.attributes if (tag, name) == ("td", "title")]
    assert reasons == ["not defined: images of one label only"] * 8


def test_what_ran_is_stated(run: RunFolder) -> None:
    _, cells = read(run)
    stated = {row[0]: row[1] for row in cells.rows if len(row) == 2}
    assert stated == {
        "profile": "corrected",
        "data": "test: 12 images of tile, wood",
        "device": "cpu, A processor",
        "seed": "111",
        "started": "2025-03-09T10:00:00+00:00",
        "time": "1.5 minutes",
        "peak memory": "1.50 GB",
        "versions": "python 3.11.7",
        "plugins": "losses 0.1.0",
        "commit": "abc123 with changes",
    }


def test_nothing_is_fetched_and_nothing_of_the_user_is_markup(run: RunFolder) -> None:
    html, cells = read(run)
    fetched = [value for _, name, value in cells.attributes if name in ("src", "href") and not name.startswith("xlink")]
    assert fetched
    assert all(value and value.startswith(("data:", "#")) for value in fetched)
    assert not re.search(r"@import|url\((?!#)|<script|<link (?!rel=\"icon\")", html)
    assert "&lt;script&gt;alert(1)" in html


def test_pictures_and_curves_are_inside(run: RunFolder) -> None:
    html, _ = read(run)
    assert 'alt="Image, mask and anomaly map: tile crack"' in html
    assert "vision phase" in html
    assert html.count("<svg") == 1


def test_it_can_be_made_again_and_is_the_same(run: RunFolder) -> None:
    first = write_report(run.path).read_bytes()
    assert write_report(run.path).read_bytes() == first


def test_a_run_that_stopped_early_has_a_report(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_experiment('name = "tiny"\n')
    run.write_manifest({})
    run.event({"event": "step", "loop": 1, "phase": "text", "loss": 3.0})
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"event": "st')
    html, _ = read(run)
    assert "no metrics yet" in html
    assert "text phase" in html


def test_metrics_without_a_loop_or_rules(run: RunFolder) -> None:
    run.write_metrics({"before": METRICS["before"], "loops": [], "quoted": {"loop": 0, "rule": "last"}})
    html, cells = read(run)
    assert ["before training", "0.500", "0.250", "0.500", "0.500"] in cells.rows
    assert "rules know nothing" not in html
    assert "Quoted" not in html


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"experiment\.toml.*cannot be read"):
        write_report(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "metrics.json", "experiment.toml", "events.jsonl"])
def test_a_damaged_file_is_named(run: RunFolder, name: str) -> None:
    (run.path / name).write_text('{"a": \n{}\n')
    with pytest.raises(UserError, match=f"{name}.*damaged"):
        write_report(run.path)


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


def test_pictures_that_were_left_out_are_counted(run: RunFolder) -> None:
    noisy(run.heatmaps, 60)
    html, _ = read(run)
    shown = html.count("<img ")
    assert 1 < shown < 61
    assert f"{61 - shown} more in the run folder" in html
    assert len(html) < 5_000_000
