from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from aaclip_kit.cli.screen import Screen, batch_in_words
from aaclip_kit.cli.terminal import PlainConsole
from aaclip_kit.distributed.ranks import ALONE, Ranks
from aaclip_kit.evaluation.class_metrics import METRICS, mean_metrics, with_sets
from aaclip_kit.report.results_section import red_lines

PIXEL = [metric for metric in METRICS if metric.startswith("pixel")]


def result(undefined: dict[str, dict[str, str]]) -> dict[str, Any]:
    values = {
        name: {metric: None if metric in undefined.get(name, {}) else 0.25 for metric in METRICS}
        for name in ("tile", "wood")
    }
    return {"classes": values, "mean": mean_metrics(values), "undefined": undefined}


def shown(metrics: dict[str, Any], width: int) -> list[str]:
    file = io.StringIO()
    Screen(PlainConsole(file=file, width=width)).results(metrics, Path("out"))
    return file.getvalue().splitlines()


def test_results_have_every_metric_and_the_reason_for_each_dash() -> None:
    found = result({"wood": {**dict.fromkeys(PIXEL, "no masks"), "image_ap": "one label only: no normal image"}})
    metrics = {"before": found, "rules": {"colour_distance": found}, "loops": [{"loop": 1, **found}]}
    lines = shown({**metrics, "quoted": {"loop": 1}}, 80)
    rows = {" ".join(line.split()[:-7]): line.split()[-7:] for line in lines}
    for name in ("rule: colour distance", "before training", "loop 1", "tile"):
        assert rows[name] == ["0.250"] * 7, name
    assert rows["wood"] == ["–", "–", "–", "–", "0.250", "–", "0.250"]
    assert "–  wood: pixel AUROC, pixel AUPRO, pixel AP, pixel F1-max: no masks" in lines
    assert "–  wood: image AP: one label only: no normal image" in lines
    assert not [line for line in lines if line.startswith("–  tile")]


def test_each_of_several_data_sets_has_a_line_below_the_classes() -> None:
    found = with_sets(result({}), {"drawn": ("tile",), "photographs": ("wood",)})
    metrics = {"before": found, "rules": {"darkness": found}, "loops": [{"loop": 1, **found}], "quoted": {"loop": 1}}
    names = [" ".join(line.split()[:-7]) for line in shown(metrics, 100)]
    place = names.index("wood")
    assert names[place + 1 : place + 3] == ["mean of drawn", "mean of photographs"]
    assert sum(name.startswith("mean of ") for name in names) == 2


def test_each_of_several_data_sets_has_a_line_below_every_rule_and_loop() -> None:
    sets = {"drawn": ("tile",), "photographs": ("wood",)}
    found, other = with_sets(result({}), sets), with_sets(result({"wood": {"pixel_auroc": "no masks"}}), sets)
    metrics = {"before": found, "rules": {"darkness": found}, "loops": [{"loop": 1, **other}], "quoted": {"loop": 1}}
    lines = shown(metrics, 80)
    start = next(place for place, line in enumerate(lines) if line.startswith("rule: darkness"))
    assert [line[:20].rstrip() for line in lines[start : start + 9]] == [
        row for name in ("rule: darkness", "before training", "loop 1") for row in (name, "  drawn", "  photographs")
    ]
    assert [line.split()[-7] for line in lines[start + 6 : start + 9]] == ["0.250", "0.250", "–"]
    assert not any("…" in line for line in lines), "a terminal of 80 columns has room for all"


def test_what_speaks_against_the_figures_stands_red_before_them(tmp_path: Path) -> None:
    good, poor = result({}), result({})
    good["mean"] |= {"image_auroc": 0.698, "pixel_auroc": 0.9}
    poor["mean"] |= {"image_auroc": 0.430, "pixel_auroc": 0.9}
    loops = [{"loop": 1, **good}, {"loop": 2, **poor}]
    metrics = {"before": good, "rules": {"colour_distance": poor}, "loops": loops, "quoted": {"loop": 2}}
    achieved = {"image": {"fpr": 0.7, "f1": 0.5}, "map": {"fpr": 0.1, "f1": None}}
    (tmp_path / "calibration.json").write_text(json.dumps({"achieved": achieved, "source": "data.validation"}))
    file = io.StringIO()
    Screen(PlainConsole(file=file, width=200, force_terminal=True, color_system="standard")).results(metrics, tmp_path)
    lines = file.getvalue().splitlines()
    assert lines[:3] == [
        f"\x1b[1;31mwarning    {line}\x1b[0m"
        for line in (
            "image AUROC is worse than before training: 0.430 after loop 2, against 0.698",
            "image AUROC is below what knows nothing (chance): 0.430 after loop 2, against 0.500",
            "the image threshold calls 70.0% of the normal images anomalous that it was chosen on (data.validation)",
        )
    ]
    assert red_lines({**metrics, "loops": loops[:1]}, None) == []


def test_the_images_of_a_batch_that_a_device_has_are_said() -> None:
    assert batch_in_words(16, ALONE) == "16"
    assert batch_in_words(16, Ranks(0, 8)) == "16 (2 on each of 8 devices)"
    assert batch_in_words(20, Ranks(0, 8)) == "20 (2 or 3 on each of 8 devices)"
    assert batch_in_words(2, Ranks(0, 8)) == "2 (1 on each of 2 of 8 devices; the others gain nothing)"
