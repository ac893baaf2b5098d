from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.files.plain_file import read_json
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.report.page import write_report

from .folders import NASTY, new_folder, old_folder, read

HEAD = ["AUROC", "AUPRO", "AP", "F1-max", "AUROC", "AP", "F1-max"]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return new_folder(tmp_path / "run")


def test_the_loop_table_holds_rules_frozen_model_and_loops_with_seven_metrics(run: RunFolder) -> None:
    _, page = read(run)
    start = page.rows.index(["model", *HEAD])
    assert page.rows[start - 1] == ["", "pixel", "image"]
    assert page.rows[start + 1 : start + 7] == [
        ["rule: colour distance", "0.450", "0.350", "0.225", "0.113", "0.500", "0.500", "0.500"],
        ["rule: darkness", "0.400", "0.300", "0.200", "0.100", "0.500", "0.500", "0.500"],
        ["rule: patch distance", "0.480", "0.380", "0.240", "0.120", "0.500", "0.500", "0.500"],
        ["before training", "0.500", "0.400", "0.250", "0.125", "0.500", "0.500", "0.500"],
        ["loop 1", "0.600", "0.500", "0.300", "0.150", "0.500", "0.500", "0.500"],
        ["loop 2", "0.700", "0.600", "0.350", "0.175", "–[1]", "–[1]", "–[1]"],
    ]


def test_the_class_table_is_of_the_reported_loop(run: RunFolder) -> None:
    _, page = read(run)
    start = page.rows.index(["class", *HEAD])
    assert [row[:2] for row in page.rows[start + 1 : start + 4]] == [
        ["tile", "0.700"],
        ["wood", "0.800"],
        ["mean", "0.700"],
    ]
    assert "Quoted: loop 2 (rule: last)." in page.text


def test_each_of_several_data_sets_has_a_line_below_every_rule_and_loop(run: RunFolder) -> None:
    metrics = read_json(run.path / "metrics.json")
    for found in (metrics["before"], *metrics["loops"], *metrics["rules"].values()):
        found["sets"] = {"drawn": found["classes"]["tile"], "photographs": found["classes"]["wood"]}
    run.write_metrics(metrics)
    _, page = read(run)
    start = page.rows.index(["model", *HEAD])
    table = page.rows[start + 1 : start + 19]
    lines = [*(f"rule: {name}" for name in ("colour distance", "darkness", "patch distance")), "before training"]
    lines += ["loop 1", "loop 2"]
    assert [row[0] for row in table] == [name + part for name in lines for part in ("", ", drawn", ", photographs")]
    assert [row[1] for row in table[-3:]] == ["0.700", "0.700", "0.800"]


def test_an_undefined_value_has_its_reason_as_a_note(run: RunFolder) -> None:
    html, _ = read(run)
    results = html[html.index('<section id="results">') : html.index('<section id="published">')]
    assert results.count("–<sup>[1]</sup>") == 3 + 3 * 3
    assert results.count("<li>images of one label only</li>") == 2


def test_what_ran_is_stated(run: RunFolder) -> None:
    run.write_calibration({"image_threshold": 0.25, "map_threshold": None, "rule": "f1max", "loop": 2, "source": "x"})
    _, page = read(run)
    stated = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert stated == {
        "device": "cpu, A processor",
        "seed": "111",
        "started": "2025-03-09T10:00:00+00:00",
        "time": "1.5 minutes",
        "peak memory": "1.50 GB",
        "platform": "Linux",
        "versions": "python 3.11.7",
        "plugins": "losses 0.1.0",
        "commit": "abc123 with changes",
        "thresholds": "image 0.25, map not defined; rule f1max, loop 2, on x",
        "test": "12 images of 2 classes: 7 normal, 5 anomalous. Classes tile: 4 normal, 2 anomalous "
        "wood: 3 normal, 3 anomalous",
    }


def test_images_that_were_held_out_are_no_training_images(run: RunFolder) -> None:
    manifest = json.loads((run.path / "manifest.json").read_text())
    held_out = {"tile": {"normal": 1, "anomalous": 1}}
    manifest["data"]["test"] |= {"held_out": ["a", "b"], "held_out_counts": held_out}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    run.write_calibration({"rule": "f1max", "loop": 2, "source": "x", "counts": {"normal": 1, "anomalous": 1}})
    _, page = read(run)
    stated = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert stated["thresholds"].endswith("on 2 images of x")
    assert stated["test"] == (
        "10 images of 2 classes: 6 normal, 4 anomalous; 2 others were kept out of training, for the thresholds. "
        "Classes tile: 3 normal, 1 anomalous wood: 3 normal, 3 anomalous"
    )


@pytest.mark.parametrize("second", ["wood", NASTY])
def test_nothing_is_fetched_and_nothing_of_the_user_is_markup(tmp_path: Path, second: str) -> None:
    html, page = read(new_folder(tmp_path / "run", second))
    fetched = [value for tag, name, value in page.attributes if name in ("src", "href", "data", "srcset", "poster")]
    assert len(fetched) > 20
    assert all(value and value.startswith(("data:", "#")) for value in fetched)
    assert not re.search(r"@import|url\(|<script|<b>|<i>|<link (?!rel=\"icon\")", html)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert NASTY in page.text
    assert "&lt;b&gt;.png" in html


def test_every_picture_has_words_for_it(run: RunFolder) -> None:
    html, page = read(run)
    words = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(words) == html.count("<img ") > 15
    assert all(words)
    assert "Image: tile, crack, 1.png" in words
    assert any(word and "mean of the classes: 0.40 at a rate of 0.05" in word for word in words)


def test_an_older_folder_has_a_report_that_says_what_is_left_out(tmp_path: Path) -> None:
    _, page = read(old_folder(tmp_path / "run"))
    assert ["loop 1", "0.700", "–[1]", "0.400", "–[1]", "–[2]", "–[2]", "–[1]"] in page.rows
    assert "not measured by the version that made this run" in page.text
    for left_out in (
        "Left out: the run folder has no curves.",
        "Left out: the run folder does not say where its stages look.",
        "Left out: the run has not recorded them.",
        "Left out: the run has no validation data, or no loop has ended.",
    ):
        assert left_out in page.text
    assert ("img", "alt", "Image, mask and anomaly map: tile crack") in page.attributes
    assert "Published" not in page.text


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
    _, page = read(run)
    assert "no metrics yet" in page.text
    assert "text phase: loss" in page.text
    assert "Left out: the run folder has no pictures." in page.text


def test_metrics_without_a_loop_or_rules(run: RunFolder) -> None:
    run.write_metrics({"before": {"classes": {}, "mean": {"pixel_auroc": 0.5}}, "loops": [], "quoted": {"loop": 0}})
    _, page = read(run)
    assert ["before training", "0.500", *["–[1]"] * 6] in page.rows
    assert "rules know nothing" not in page.text
    assert "Quoted" not in page.text


def test_overlapping_data_is_said_in_red_before_anything_else(run: RunFolder) -> None:
    html, _ = read(run)
    assert 'class="warning"' not in html
    data = {"count": 12, "counts": {}, "shots": {"normal": 4, "anomalous": 2, "files": {}}}
    notes = ["not zero-shot: <x>", "allow_overlap is set: 3 images", "near copies: 2", "no masks"]
    later = {"count": 12, "counts": {}, "overlap_allowed": True, "shared_images": 3, "notes": notes}
    run.write_manifest({"data": {"train": data, "test": later}, "finished": None})
    run.event({"event": "warning", "message": "no gradient <reaches> it"})
    run.write_calibration({"achieved": {"image": {"fpr": 0.7, "f1": 0.5}}, "source": "data.validation"})
    html, page = read(run)
    head = html[: html.index("<main>")]
    assert re.findall(r'<p class="warning"><strong>Warning:</strong> (.*)</p>', head) == [
        "this run did not finish: what it had found until then is below",
        "the image threshold calls 70.0% of the normal images anomalous that it was chosen on (data.validation)",
        "data.test: not zero-shot: &lt;x&gt;",
        "data.test: allow_overlap is set: 3 images",
        "data.test: near copies: 2",
        "no gradient &lt;reaches&gt; it",
    ]
    assert re.search(r"\.warning \{[^}]*color: #8c1d18", html)
    assert "Few-shot: 4 normal and 2 anomalous drawn of each class" in page.text
    assert "not zero-shot: <x>" in page.text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"experiment\.toml.*there is no such file"):
        write_report(tmp_path)


NAMES = [
    "manifest.json",
    "metrics.json",
    "experiment.toml",
    "events.jsonl",
    "curves.json",
    "attention.json",
    "cases.npz",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_named(run: RunFolder, name: str) -> None:
    (run.path / name).write_text('{"a": \n{}\n')
    with pytest.raises(UserError, match=f"{name}.*damaged"):
        write_report(run.path)
