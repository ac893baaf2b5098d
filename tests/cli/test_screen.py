from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from aaclip_kit.cli.screen import Screen
from aaclip_kit.evaluation.class_metrics import METRICS, mean_metrics

PIXEL = [metric for metric in METRICS if metric.startswith("pixel")]


def result(undefined: dict[str, dict[str, str]]) -> dict[str, Any]:
    values = {
        name: {metric: None if metric in undefined.get(name, {}) else 0.25 for metric in METRICS}
        for name in ("tile", "wood")
    }
    return {"classes": values, "mean": mean_metrics(values), "undefined": undefined}


def shown(metrics: dict[str, Any], width: int) -> list[str]:
    file = io.StringIO()
    Screen(Console(file=file, width=width)).results(metrics, Path("out"))
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
