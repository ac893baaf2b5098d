"""Strangers' packages: installed beside the toolkit, found by their entry points, used by an experiment file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ..fresh import Fresh
from ..helpers import assert_close
from .conftest import EXAMPLES, Example, Runs, steps

GATED, ZERO_INIT, PERCEIVER, COCOOP = EXAMPLES
OFF = "scheduler.attention=false"
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.component)


@pytest.mark.slow
def test_their_components_are_listed_with_their_owners(fresh: Fresh, tmp_path: Path) -> None:
    listed = fresh.aakit("list-plugins", "--json", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    found = json.loads(listed.stdout)
    assert found["problems"] == []
    components = {(one["kind"], one["name"]): one for one in found["components"]}
    for example in EXAMPLES:
        component = components[example.kind, example.component]
        assert (component["package"], component["version"]) == (example.package, example.version)
        assert component["description"].startswith(("Cross-attention over", "Learnt tokens before"))


@pytest.mark.slow
def test_their_options_are_shown_with_their_bounds(fresh: Fresh, tmp_path: Path) -> None:
    for example, said in ((GATED, "float >= -3, <= 3"), (PERCEIVER, "int >= 1, <= 1024"), (COCOOP, "int >= 1, <= 16")):
        shown = fresh.aakit("show", example.component, cwd=tmp_path)
        assert said in " ".join(shown.stdout.split())


@pytest.mark.slow
@each_example
def test_an_experiment_trains_it_in_the_place_of_what_is_built_in(runs: Runs, example: Example) -> None:
    run = runs(example)
    plugins = json.loads((run / "manifest.json").read_text())["plugins"]
    assert plugins[f"{example.kind}:{example.component}"].startswith(f"{example.package} {example.version}")
    assert not plugins.keys() & {f"{example.kind}:{name}" for name in example.replaces}
    one, two = (load_file(run / "checkpoints" / f"loop_{loop}.safetensors") for loop in (1, 2))
    for name in example.weights():
        assert one[name].isfinite().all() and one[name].count_nonzero()
        assert not torch.equal(one[name], two[name])
    assert all(math.isfinite(step["loss"]) for step in steps(run))


@pytest.mark.slow
def test_a_gate_begins_where_the_file_says(runs: Runs) -> None:
    checkpoint = load_file(runs(GATED, "stages.text_to_image.gate=0.25") / "checkpoints" / "loop_1.safetensors")
    assert 0 < abs(checkpoint["sites.stages.text_to_image.0.gate"] - 0.25) < 0.1


@pytest.mark.slow
def test_a_stage_that_starts_at_zero_starts_as_the_run_without_it(runs: Runs) -> None:
    """Switched off, the stage is drawn all the same, and so are the other weights. It acts from the second step on."""
    (first, second, *_), (first_off, second_off, *_) = steps(runs(ZERO_INIT)), steps(runs(ZERO_INIT, OFF))
    assert_close(first["loss"], first_off["loss"])
    for group, norm in first_off["gradient_norms"].items():
        assert_close(first["gradient_norms"][group], norm)
    assert first["gradient_norms"]["text_to_image"] > 0
    assert abs(second["loss"] - second_off["loss"]) > 1e-6 * second_off["loss"]


@pytest.mark.slow
def test_the_study_that_compares_them_is_valid(fresh: Fresh) -> None:
    root = Path(__file__).parents[2]
    checked = fresh.aakit("validate", root / "benchmarks" / "attention_stages.toml", cwd=root)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("example", "override", "said"),
    [
        (GATED, "gate=4", "stages.text_to_image.gate"),
        (GATED, "heads=5", "5 heads do not divide 16"),
        (ZERO_INIT, "heads=5", "5 heads do not divide 16"),
        (PERCEIVER, "latents=0", "stages.text_to_image.latents"),
        (PERCEIVER, "heads=5", "5 heads do not divide 16"),
        (COCOOP, "tokens=0", "prompts.tokens"),
    ],
)
@pytest.mark.slow
def test_their_faults_are_plain_messages(
    fresh: Fresh, small_experiment: Path, tmp_path: Path, example: Example, override: str, said: str
) -> None:
    options = [*example.overrides(), "--set", f"{example.tables[0]}.{override}"]
    ran = fresh.aakit("run", small_experiment, "--out", tmp_path / "run", *options, cwd=tmp_path)
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "example",
    [GATED, *(pytest.param(example, marks=pytest.mark.slow) for example in EXAMPLES[1:])],
    ids=lambda example: example.component,
)
def test_without_the_package_the_experiment_is_refused(
    small_experiment: Path, tmp_path: Path, example: Example
) -> None:
    bare = Fresh(tmp_path / "bare")
    ran = bare.aakit("validate", small_experiment, *example.overrides(), cwd=tmp_path)
    assert ran.returncode == 2
    assert f"no {example.kind} called '{example.component}'" in ran.stderr


@pytest.mark.slow
@each_example
def test_its_own_tests_pass(fresh: Fresh, copies: Path, example: Example) -> None:
    ran = fresh.run("-m", "pytest", "-v", "-p", "no:cacheprovider", cwd=copies / example.package)
    assert ran.returncode == 0, ran.stdout[-4000:]
    for first in example.contract:
        assert f"::{first}" in ran.stdout


@pytest.mark.slow
def test_their_types_are_strict(copies: Path, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mypy", reason="types are checked by mypy")
    # A type checker does not follow the hook of an editable install, so it is told where the toolkit lies.
    monkeypatch.setenv("MYPYPATH", str(Path(__file__).parents[2]))
    modules = [copies / example.package / example.module for example in EXAMPLES]
    options: list[str | Path] = ["--strict", "--config-file", "", "--follow-imports", "silent", "--cache-dir", tmp_path]
    checked = fresh.run("-m", "mypy", *options, *modules, cwd=copies)
    assert checked.returncode == 0, checked.stdout
