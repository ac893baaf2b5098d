"""`aakit run` on a tiny random model: the plan, a dry run, the results."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from aaclip_kit.evaluation.class_metrics import METRICS
from aaclip_kit.record.run_folder import FAULT, RUN_NAMES, SNAPSHOTS, TRACKERS, TRACKING

from ..command import Command
from .conftest import contents

pytestmark = pytest.mark.usefixtures("undrawn")

PLAN = (
    "experiment small, profile corrected, seed 3, on CPU, fp32",
    "32 px, 4 x 4 patches, levels 2, 4, 6, 8",
    "prompts    ensemble",
    "head       projections",
    "text_to_image: text_to_image, text tower, after block 0",
    "text_adapter: residual_adapter, text tower, after block 0, 1, 2",
    "1 classes, 4 normal and 4 anomalous images: red_cloth",
    "1 classes, 4 normal and 4 anomalous images: green_wood",
    "text: 1 epochs on frozen image features, batch 4, rate 1.0e-05",
    "text: 1 epochs on trained image features, batch 4, rate 5.0e-06",
)


def test_a_dry_run_prints_the_plan_and_writes_nothing(aakit: Command, place: Path, small_experiment: Path) -> None:
    ran = aakit("run", small_experiment, "--dry-run", "--device", "cpu")
    assert (ran.code, ran.err) == (0, "")
    for line in PLAN:
        assert line in ran.out
    assert "writes to" not in ran.out
    assert contents(place) == {}
    ran = aakit("run", small_experiment, "--dry-run", "--out", "out", "--seed", 5, "--set", "scheduler.attention=false")
    assert "seed 5" in ran.out
    assert ran.out.count("attention off") == 4
    assert contents(place) == {}


def test_the_plan_counts_the_weights_that_its_phases_train(aakit: Command, place: Path, small_experiment: Path) -> None:
    counts = {}
    single = ["scheduler.use=single", "scheduler.epochs=1", "scheduler.train="]
    plans = {name: [*single[:2], single[2] + name] for name in ("text", "vision")}
    for trains, keys in {**plans, "feedback": [], "none": ["scheduler.use=none"]}.items():
        ran = aakit("run", small_experiment, "--dry-run", *(word for key in keys for word in ("--set", key)))
        assert ran.code == 0, ran.err
        (counted,) = re.findall(r"frozen weights, ([\d,]+) trained", ran.out)
        counts[trains] = int(counted.replace(",", ""))
    assert counts["none"] == 0 < min(counts["text"], counts["vision"])
    assert counts["feedback"] == counts["text"] + counts["vision"]


def test_a_run_from_plan_to_results(aakit: Command, place: Path, small_experiment: Path) -> None:
    ran = aakit("run", small_experiment, "--out", "out/deep", "--device", "cpu", "--seed", 11)
    assert ran.code == 0, ran.err
    for line in (*PLAN[1:], "seed 11", "writes to  out/deep"):
        assert line in ran.out
    folder = place / "out" / "deep"
    left = set(RUN_NAMES) - {SNAPSHOTS, FAULT, TRACKERS, TRACKING}
    assert {path.name for path in folder.iterdir()} == left, "only what every run leaves"
    assert not list(place.rglob("*.part"))
    metrics = json.loads((folder / "metrics.json").read_text())
    table = {" ".join(line.split()[:-7]): line.split()[-7:] for line in ran.out.splitlines() if len(line.split()) > 7}
    rows = {"before training": metrics["before"], **{f"loop {found['loop']}": found for found in metrics["loops"]}}
    rows |= {f"rule: {name.replace('_', ' ')}": found for name, found in metrics["rules"].items()}
    assert "rule: patch distance" in rows
    for name, found in rows.items():
        expected = [found["mean"][metric] for metric in METRICS]
        assert table[name] == [f"{value:.3f}" for value in expected], name
    assert table["green_wood"] == table["loop 2"], "one class is its own mean"
    assert "out/deep/report.html" in ran.out
    resolved = tomllib.loads((folder / "experiment.toml").read_text())
    assert (resolved["seed"], resolved["device"], resolved["model"]["levels"]) == (11, "cpu", [2, 4, 6, 8])
    assert json.loads((folder / "manifest.json").read_text())["seeds"] == {"seed": 11}
    again = aakit("validate", folder / "experiment.toml")
    assert again.code == 0, again.err
    refused = aakit("run", small_experiment, "--out", "out/deep")
    assert refused.code == 2


def test_without_out_the_folder_is_named_after_the_experiment(
    aakit: Command, place: Path, small_experiment: Path
) -> None:
    short = ["--set", "scheduler.text_epochs=[1]", "--set", "scheduler.image_epochs=[1]"]
    ran = aakit("run", small_experiment, *short, "--set", "scheduler.rate_factors=[1.0]", "--set", "name=my-run.1")
    assert ran.code == 0, ran.err
    (folder,) = (place / "runs").iterdir()
    assert folder.name.startswith("my-run.1-20")
    assert str(Path("runs") / folder.name) in ran.out


def test_an_option_of_the_command_goes_before_the_file_and_set(
    aakit: Command, place: Path, small_experiment: Path
) -> None:
    ran = aakit("run", small_experiment, "--dry-run", "--set", "seed=5", "--seed", 6)
    assert "seed 6" in ran.out


@pytest.mark.slow
def test_a_new_data_set_by_two_overrides_alone(
    aakit: Command, place: Path, small_experiment: Path, defects: Path
) -> None:
    """`--set data.test.use=... --set data.test.root=...` only, in either order."""
    text = small_experiment.read_text()
    head, _, _ = text.partition("[data.test]")
    small_experiment.write_text(head + '[data.test]\nuse = "synthetic"\nsplit = "test"\n')
    other = [f"data.test.root={defects / 'green_wood'}", "data.test.use=folder"]
    for overrides in (other, other[::-1]):
        ran = aakit("run", small_experiment, "--dry-run", *(word for one in overrides for word in ("--set", one)))
        assert ran.code == 0, ran.err
        assert "4 normal and 4 anomalous images: green_wood" in ran.out


@pytest.mark.parametrize(
    "name", ["[/red]nut", "../a b", *(pytest.param(name, marks=pytest.mark.slow) for name in ("metal/nut", "[bold]x"))]
)
def test_a_class_may_be_called_anything_that_prompts_can_use(
    aakit: Command, place: Path, small_experiment: Path, defects: Path, name: str
) -> None:
    """Names of a manifest are no file names, and no mark-up of the terminal."""
    lines = []
    for number in range(4):
        image, mask = f"{{}}/{number:03}.png", f"ground_truth/spot/{number:03}_mask.png"
        lines.append({"image_path": "test/" + image.format("good"), "label": 0, "class_name": name})
        lines.append({"image_path": "test/" + image.format("spot"), "label": 1, "class_name": name, "mask_path": mask})
    manifest = place.parent / "lines.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    overrides = [
        "data.test.use=manifest",
        f"data.test.manifest={manifest}",
        f"data.test.root={defects / 'green_wood'}",
        "scheduler.text_epochs=[1]",
        "scheduler.image_epochs=[1]",
        "scheduler.rate_factors=[1]",
    ]
    ran = aakit("run", small_experiment, "--out", "out", *(word for one in overrides for word in ("--set", one)))
    assert ran.code == 0, ran.err
    assert f"\n{name} " in ran.out
    assert len(list((place / "out" / "heatmaps").glob("*.png"))) == 8
    assert set(json.loads((place / "out" / "metrics.json").read_text())["before"]["classes"]) == {name}


@pytest.mark.slow
def test_half_precision_on_the_cpu_runs_without_a_warning(aakit: Command, place: Path, small_experiment: Path) -> None:
    """Loss scaling skips the first steps; torch would warn of a rate that moves before the optimiser does."""
    ran = aakit("run", small_experiment, "--out", "out", "--set", "precision=fp16", "--device", "cpu")
    assert (ran.code, ran.err) == (0, "")
