from __future__ import annotations

import csv
from pathlib import Path

import pytest

from aaclip_kit.files.plain_file import read_json
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.report.results_section import FILE, references
from aaclip_kit.report.results_section import PUBLISHED_METRICS as METRICS
from aaclip_kit.report.results_section import published_sections as sections
from aaclip_kit.report.run_files import RunFiles

from ..conftest import SHARED
from .folders import new_folder, read

ROOT = Path(__file__).parents[2]


def test_of_a_public_data_set_each_figure_is_shown_with_source_and_kind(tmp_path: Path) -> None:
    run = new_folder(tmp_path / "run")
    _, page = read(run)
    start = page.rows.index(["method", "AUROC", "AUPRO", "AP", "F1-max", "AUROC", "AP"])
    assert page.rows[start + 1] == ["this run, loop 2", "0.700", "0.600", "0.350", "0.175", "–[1]", "–[1]"]
    rows = {row[0]: row[1:] for row in page.rows[start + 2 :]}
    assert rows["WinCLIP (re-run by others)AnomalyCLIP repository results figure; pixel AP and F1 VisualAD README"] == [
        "0.796", "0.568", "0.054", "0.090", "0.781", "0.812",
    ]  # fmt: skip
    assert rows["UniADet (own table)UniADet README"] == ["–[2]", "–[2]", "0.327", "–[2]", "0.913", "–[2]"]
    assert "not given by the source" in page.text
    assert "means over 2 classes" in page.text
    assert len([reference for reference in references() if reference.dataset == "visa"]) == sum(
        "README" in name or "repository" in name or "issue" in name for name in rows
    )


def test_a_run_on_a_part_is_said_not_to_be_comparable(tmp_path: Path) -> None:
    run = new_folder(tmp_path / "run")
    reason = "2 of the 12 classes of <VisA> are read"
    run.write_manifest({"data": {"test": {"count": 12, "counts": {}, "not_comparable": reason}}, "finished": "2025"})
    html, page = read(run)
    told = '<p class="warning">This run is not comparable with published figures, because 2 of the 12 classes of &lt;V'
    assert told in html[html.index('<section id="published">') :]
    assert "compare them only where" not in page.text


def test_each_public_data_set_of_several_has_its_own_figures(tmp_path: Path) -> None:
    run = new_folder(tmp_path / "run")
    metrics = read_json(run.path / "metrics.json")
    for loop in metrics["loops"]:
        loop["sets"] = {"visa": loop["classes"]["tile"], "mvtec": loop["classes"]["wood"], "own": loop["mean"]}
    run.write_metrics(metrics)
    shots = {"normal": 3, "anomalous": 2}
    sets = {"visa": {"use": "visa", "count": 6, "classes": ["tile"], "not_comparable": "it is a part"}}
    sets["mvtec"] = {"use": "mvtec", "count": 5, "classes": ["wood"], "shots": shots}
    sets["own"] = {"use": "folder", "count": 1, "classes": ["nut"]}
    run.write_manifest({"data": {"test": {"count": 12, "counts": {}, "sets": sets}}, "finished": "2025"})
    html, page = read(run)
    own = [row[1] for row in page.rows if row[0] == "this run, loop 2"]
    assert own == ["0.700", "0.800"]
    assert [one["dataset"] for one in sections(RunFiles(run.path))] == ["visa", "mvtec"]
    assert html.count("This run is not comparable with published figures, because it is a part.") == 1
    assert page.text.count("means over 1 classes") == 1
    names = [row[0] for row in page.rows]
    assert names[names.index("mean of mvtec") :][:4] == ["mean of mvtec", "mean of own", "mean of visa", "mean"]
    assert "mvtec: 5 images of 1 classes; few-shot: 3 normal and 2 anomalous drawn of each class." in page.text
    assert "own: 1 images of 1 classes." in page.text


def test_of_own_data_there_is_no_such_section(tmp_path: Path) -> None:
    run = new_folder(tmp_path / "run")
    run.write_experiment('name = "tiny"\n[data.test]\nuse = "folder"\n')
    assert sections(RunFiles(run.path)) == []
    assert "Published figures" not in read(run)[1].text


def test_the_packages_file_holds_fractions_of_one_with_a_source_each() -> None:
    assert len(references()) > 20
    for reference in references():
        assert reference.method and reference.dataset and reference.source and reference.kind
        values = [value for value in reference.values.values() if value is not None]
        assert values and all(0 < value < 1 for value in values), reference
        assert tuple(reference.values) == METRICS


def test_each_data_set_is_one_that_an_experiment_can_name() -> None:
    known = {component.name for component in discover().components.values() if component.kind == "data-set"}
    assert {reference.dataset for reference in references()} <= known


def test_the_packages_file_is_the_collected_one() -> None:
    collected = SHARED / "references.csv"
    if not collected.exists():
        pytest.skip("the figures were collected in shared, which is not here")
    own = (ROOT / "aaclip_kit" / "report" / FILE).read_text(encoding="utf-8")
    assert list(csv.reader(own.splitlines())) == list(csv.reader(collected.read_text(encoding="utf-8").splitlines()))
