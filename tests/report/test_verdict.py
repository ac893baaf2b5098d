from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aaclip_kit.report.run_files import RunFiles
from aaclip_kit.report.verdict import verdict

from .folders import new_folder


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    return RunFiles(new_folder(tmp_path / "run").path)


def result(pixel: float | None, image: float | None, classes: int = 2) -> dict[str, Any]:
    mean = {"pixel_auroc": pixel, "image_auroc": image}
    return {"classes": {str(number): mean for number in range(classes)}, "mean": mean}


def test_it_says_what_the_quoted_loop_has_what_training_changed_and_what_knowing_nothing_has(run: RunFiles) -> None:
    run.metrics = {
        "before": result(0.9584, 0.92),
        "loops": [{"loop": 1, **result(0.1, 0.1)}, {"loop": 2, **result(0.9606, 0.9)}],
        "rules": {"darkness": result(0.4, 0.95), "patch_distance": result(0.943, 0.835)},
        "quoted": {"loop": 2},
    }
    assert verdict(run) == [
        "The weights after loop 2 have image AUROC 0.900 and pixel AUROC 0.961, the mean of 2 classes.",
        "Training changed image AUROC by -0.020 from 0.920 and pixel AUROC by +0.003 from 0.958.",
        "The best rule that knows nothing has image AUROC 0.950 (darkness) and pixel AUROC 0.943 (patch distance).",
    ]


def test_without_training_nothing_is_said_of_it(run: RunFiles) -> None:
    run.metrics = {"before": result(0.9, 0.8, classes=1), "loops": [], "quoted": {"loop": 0}}
    assert verdict(run) == ["The model as it is, without training, has image AUROC 0.800 and pixel AUROC 0.900."]


def test_what_is_not_defined_is_left_out(run: RunFiles) -> None:
    run.metrics = {
        "before": result(0.9, 0.8),
        "loops": [{"loop": 1, **result(None, 0.85)}],
        "rules": {"darkness": result(0.4, None)},
        "quoted": {"loop": 1},
    }
    assert verdict(run) == [
        "The weights after loop 1 have image AUROC 0.850, the mean of 2 classes.",
        "Training changed image AUROC by +0.050 from 0.800.",
    ]
    run.metrics["loops"] = [{"loop": 1, **result(None, None)}]
    assert verdict(run) == []
    run.metrics = {}
    assert verdict(run) == []
