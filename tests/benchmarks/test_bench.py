"""What the benchmarks print and write, on the embedded model and on made-up measurements."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..helpers import assert_close
from .conftest import FOLDER


@pytest.mark.slow
def test_a_quick_part_measures_both_ways_and_writes_its_section(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    out.write_text(json.dumps({"cuda": {"stage2_ratio": 3.0}}))
    options: list[str | Path] = ["--quick", "--only", "stage2", "--device", "cpu", "--out", out]
    ran = subprocess.run([sys.executable, FOLDER / "bench.py", *options], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert "stage2_112_b4" in ran.stdout
    found = json.loads(out.read_text())
    assert found["cuda"] == {"stage2_ratio": 3.0}
    section = found["cpu"]
    raw = section["raw"]["stage2_112_b4"]
    assert len(raw["own"]) == 3 and len(raw["naive"]) == 1
    assert_close(section["stage2_ratio"], raw["naive"][0] / sorted(raw["own"])[1])
    assert 0 < section["stage2_matmul_share"] < 1
    assert 0.2 < section["stage2_112_b4_peak_gb"] < section["stage2_112_b4_naive_peak_gb"] < 3


@pytest.mark.slow
def test_results_that_cannot_be_read_stop_the_bench_before_it_measures(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    out.write_text("[1")
    ran = subprocess.run(
        [sys.executable, FOLDER / "bench.py", "--quick", "--out", out], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 2 and "holds no results" in ran.stderr and "Traceback" not in ran.stderr
    assert out.read_text() == "[1"


def raw(own: float, naive: float | None, **more: Any) -> dict[str, Any]:
    """Measurements whose medians are these; a peak of 100 operations a second."""
    found = {
        "own": [own, 2 * own, own / 2],
        "naive": [] if naive is None else [naive],
        "forward": [1.6],
        "own_peak": 2e9,
    }
    return {**found, "naive_peak": 5e9, "operations": 60 * own, "matmul_peaks": [90.0, 100.0], **more}


def test_figures_are_the_worse_of_both_sizes_and_kept_features_against_the_same_naive_step(script: Any) -> None:
    figures, load = script("figures"), script("workload").Load
    kept = {"cached": [0.5], "cached_own_context": [1.0], "cached_operations": 10.0}
    found = figures.figures(
        "cpu",
        {
            load("stage1", 224, 4): raw(2.0, 10.0, **kept),
            load("stage1", 518, 2): raw(2.0, 8.0, **kept),
            load("stage1", 224, 4, classes=1): raw(2.0, 2.0),
            load("stage2", 518, 2): raw(4.0, 12.0, naive_extra=[4.0]),
            load("scoring", 224, 4): raw(1.0, 2.0, operations=90.0),
            load("scoring", 518, 2): raw(1.0, 2.0, operations=70.0),
        },
    )
    flattering = 12 / 1.6 * 16 / 95.6
    expected = {
        "stage1_first_epoch_ratio": 4.0, "stage1_cached_ratio": 16.0, "stage1_cached_own_context_ratio": 8.0,
        "stage1_224_b4_c1_ratio": 1.0, "stage1_224_b4_images_per_s": 2.0, "stage1_518_b2_cached_matmul_share": 0.2,
        "stage2_ratio": 3.0 / flattering, "stage2_518_b2_ratio_without_extra_passes": 2.0 / flattering,
        "stage2_matmul_share": 0.6, "stage2_518_b2_naive_to_published": flattering, "stage2_peak_gb_518_b2": 2.0,
        "stage2_518_b2_naive_peak_gb": 5.0, "scoring_matmul_share": 0.7,
    }  # fmt: skip
    for name, value in expected.items():
        assert_close(found[name], value)


def test_every_demand_is_of_a_figure_that_a_whole_run_has(script: Any) -> None:
    figures, bench = script("figures"), script("bench")
    for device, demands in figures.ASKED.items():
        loads = bench.chosen(device, quick=False, full=False)
        kept = {"cached": [0.5], "cached_own_context": [1.0], "naive_extra": [0.1]}
        found = figures.figures(device, {load: raw(1.0, 2.0 if load.naive else None, **kept) for load in loads})
        missing = {asked.figure for asked in demands} - found.keys()
        assert missing == ({"main_job_ratio"} if device == "cpu" else set())


def test_a_missed_demand_is_counted_and_shown(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    results = script("results")
    assert results.show_asked("cpu", {"stage2_ratio": 2.0, "stage2_peak_gb_518_b2": 7.0}) == 1
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "stage2" in line}
    assert "MISSED" in lines["stage2_ratio"] and "reached" in lines["stage2_peak_gb_518_b2"]


def test_an_interrupted_write_leaves_the_file(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, path = script("results"), tmp_path / "results" / "latest.json"
    results.write(path, "a machine", "cpu", {"stage2_ratio": 3.0}, {})
    before = path.read_bytes()

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.write(path, "a machine", "cpu", {"stage2_ratio": 1.0}, {})
    assert path.read_bytes() == before


def test_a_growth_curve_has_a_plot(script: Any, tmp_path: Path) -> None:
    growth = script("growth")
    points = [
        {"batch": n, "seconds": n / 10, "peak_gb": 1.0, "naive_seconds": n / 4, "naive_peak_gb": 2.0} for n in (2, 4)
    ]
    growth.plot(growth.AXES[-1], points, tmp_path / "batch.png")
    assert (tmp_path / "batch.png").read_bytes().startswith(b"\x89PNG")


def test_another_checkout_is_what_python_imports(script: Any, tmp_path: Path) -> None:
    for name in ("aaclip_kit", "plugins"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"place = {name!r}\n")
    code = "import aaclip_kit, aaclip_kit_plugins as plugins; print(aaclip_kit.place, plugins.place)"
    with script("machine").checkout(tmp_path) as environment:
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert ran.stdout.split() == ["aaclip_kit", "plugins"], ran.stderr
