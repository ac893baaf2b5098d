"""Run folders of synthetic metrics, as small as a comparison can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

Values = Mapping[str, Mapping[str, float | None]]

STUDY = """
base = "small.toml"
seeds = 2
[variants.base]
set = ["scheduler.attention=false"]
[variants.attending]
[variants.unattended]
set = ["switches.evaluation_attention=false"]
rescore = "attending"
"""
"""Two variants that train, and one that scores the weights of one again; its base lies beside it."""


def write_run(
    folder: Path, seed: int, loops: list[Values], data: str = "one", quoted: int | None = None, train: str = "t",
    facts: Mapping[str, object] | None = None,
) -> Path:  # fmt: skip
    """A finished run with these values of each class after each loop; before training everything is one half.

    `facts` is more of what its manifest says.
    """
    folder.mkdir(parents=True)
    before = {name: dict.fromkeys(values, 0.5) for name, values in loops[0].items()}
    metrics = {
        "before": result(before),
        "rules": {},
        "loops": [{"loop": number, **result(values)} for number, values in enumerate(loops, 1)],
        "quoted": {"loop": quoted or len(loops), "rule": "last"},
    }
    manifest = {
        "seeds": {"seed": seed},
        "data": {"test": {"sha256": data}, "train": {"sha256": train}},
        "git": None,
        "finished": "2026-01-01T00:00:00+00:00",
        **(facts or {}),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "events.jsonl").touch()
    return folder


def result(values: Values) -> dict[str, object]:
    metrics = list(next(iter(values.values())))
    mean = {}
    for metric in metrics:
        defined = [value for one in values.values() if (value := one[metric]) is not None]
        mean[metric] = sum(defined) / len(defined) if defined else None
    return {"classes": values, "mean": mean}


def write_seeds(folder: Path, tables: Mapping[int, Mapping[str, float | None]], metric: str = "pixel_auroc") -> Path:
    """`{seed: {class: value}}` of one metric as a folder of seeds."""
    for seed, values in tables.items():
        write_run(folder / f"seed_{seed}", seed, [{name: {metric: value} for name, value in values.items()}])
    return folder
