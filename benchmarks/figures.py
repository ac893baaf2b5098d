"""From the raw seconds of each load to the figures that are asked about, beside what is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from workload import Load

Raw = Mapping[str, Any]
"""What one process measured: see job.py."""

Figures = dict[str, float]

WAYS = {"": "own", "cached_": "cached", "cached_own_context_": "cached_own_context"}
"""What a figure's name begins with, and where the seconds are: of new features, kept ones, and those with each image's
own context."""

PUBLISHED_PEAK = 183e9
"""Matmul peak of the machine that the published code was measured on, in operations a second."""

PUBLISHED = {
    "stage1_224_b4": (29.0, 4 * 1.20), "stage1_518_b2": (85.0, 2 * 8.0), "stage2_224_b4": (27.6, 4 * 1.20),
    "stage2_518_b2": (95.6, 2 * 8.0), "scoring_224_b4": (4 / 0.80, 4 * 1.20), "scoring_518_b2": (2 / 0.111, 2 * 8.0),
}  # fmt: skip
"""Seconds there of a step, or of scoring a batch, with the published code; and of open_clip's own forward pass."""


FLATTERING: Final = 1.10
"""Times the published code's seconds, in forward passes, from which on ratios to the naive way are divided by it."""


@dataclass(frozen=True)
class Asked:
    """A demand on one figure."""

    figure: str
    sign: str
    value: float

    def reached(self, figures: Figures) -> bool:
        """Whether the figure, which must be there, is on the right side."""
        found = figures[self.figure]
        return found >= self.value if self.sign == ">=" else found <= self.value


ASKED = {
    "cpu": (
        Asked("stage1_first_epoch_ratio", ">=", 2.8),
        Asked("stage1_cached_ratio", ">=", 20),
        Asked("stage1_cached_own_context_ratio", ">=", 10),
        Asked("stage2_ratio", ">=", 2.2),
        Asked("stage2_matmul_share", ">=", 0.55),
        Asked("stage2_peak_gb_518_b2", "<=", 7.5),
        Asked("scoring_matmul_share", ">=", 0.65),
        Asked("main_job_ratio", ">=", 1.5),
        *(Asked(f"{key}_naive_to_published", "<=", FLATTERING) for key in PUBLISHED),
    ),
    "cuda": (
        Asked("stage1_first_epoch_ratio", ">=", 12),
        Asked("stage1_cached_ratio", ">=", 60),
        Asked("stage1_cached_own_context_ratio", ">=", 30),
        Asked("stage2_518_b16_images_per_s", ">=", 150),
        Asked("stage2_matmul_share", ">=", 0.45),
        Asked("stage2_peak_gb_518_b16", "<=", 24),
        Asked("scoring_518_b16_images_per_s", ">=", 350),
    ),
}
"""What is asked on each device."""


def figures(device: str, measured: Mapping[Load, Raw]) -> Figures:
    """Every figure of the loads; those that are asked about summarise both sizes by the worse one.

    Scoring's share of the matmul peak is that at the largest size, as it is asked. Ratios to a naive way that takes
    longer than `FLATTERING` times the published one are divided by what it takes.
    """
    found: Figures = {}
    for load, raw in measured.items():
        own = of_load(load, raw)
        if device == "cpu" and load.key in PUBLISHED and raw["naive"]:
            naive, (published, forward) = median(raw["naive"]), PUBLISHED[load.key]
            relative = naive / median(raw["forward"]) / (published / forward)
            if relative > FLATTERING:
                own |= {name: value / relative for name, value in own.items() if "ratio" in name}
            own["naive_to_published"] = relative
            own["naive_to_published_per_peak"] = naive * max(raw["matmul_peaks"]) / (published * PUBLISHED_PEAK)
        found.update({f"{load.key}_{name}": value for name, value in own.items()})
    loads = [load for load in measured if load.classes == Load.classes]
    worst = {
        "stage1_first_epoch_ratio": ("stage1", "ratio"), "stage1_cached_ratio": ("stage1", "cached_ratio"),
        "stage1_cached_own_context_ratio": ("stage1", "cached_own_context_ratio"),
        "stage2_ratio": ("stage2", "ratio"), "stage2_matmul_share": ("stage2", "matmul_share"),
    }  # fmt: skip
    for name, (kind, part) in worst.items():
        values = [found[key] for load in loads if load.kind == kind and (key := f"{load.key}_{part}") in found]
        if values:
            found[name] = min(values)
    if scored := [load for load in loads if load.kind == "scoring"]:
        found["scoring_matmul_share"] = found[f"{max(scored, key=lambda load: load.size).key}_matmul_share"]
    for load in loads:
        if load.kind == "stage2":
            found[f"stage2_peak_gb_{load.size}_b{load.batch}"] = found[f"{load.key}_peak_gb"]
    return found


def of_load(load: Load, raw: Raw) -> Figures:
    """Medians of one load: images a second, ratio to the naive way, share of the peak, memory in 10^9 bytes."""
    found = {"peak_gb": raw["own_peak"] / 1e9, "matmul_peak_gflops": max(raw["matmul_peaks"]) / 1e9}
    for prefix, seconds in WAYS.items():
        if raw.get(seconds):
            found.update({prefix + name: value for name, value in _speed(load, raw, prefix, seconds).items()})
    if raw["naive"]:
        naive = median(raw["naive"])
        found["naive_images_per_s"], found["naive_peak_gb"] = load.batch / naive, raw["naive_peak"] / 1e9
        if raw.get("naive_extra"):
            found["ratio_without_extra_passes"] = (naive - median(raw["naive_extra"])) / median(raw["own"])
    return found


def _speed(load: Load, raw: Raw, prefix: str, seconds: str) -> Figures:
    own = median(raw[seconds])
    found = {"images_per_s": load.batch / own}
    if operations := raw.get(f"{prefix}operations"):
        found.update({"gflops": operations / own / 1e9, "matmul_share": operations / own / max(raw["matmul_peaks"])})
    if raw["naive"]:
        found["ratio"] = median(raw["naive"]) / own
    return found
