"""What stands in a new package, of every kind, without installing it."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit.comparison.ablation_plan import load_study
from aaclip_kit.experiment import Experiment, load
from aaclip_kit.plugin_host.api_version import API_VERSION
from aaclip_kit.plugin_host.discovery import GROUP, discover
from aaclip_kit.plugin_host.registry import KINDS, Kind, Registry
from aaclip_kit.scaffold import Package
from aaclip_kit.scaffold.plugin_package import EACH, IMPORTED, SIDE

from .conftest import Made

SHARED = {
    *("pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml", "experiment.toml"),
    *("MODULE/__init__.py", "MODULE/py.typed", "tests/test_MODULE.py"),
}
SAMPLES = {f"sample_data/{folder}/{n:03}.png" for folder in ("normal", "anomalous", "masks") for n in range(EACH)}
OWN: dict[Kind, set[str]] = {
    "attention-stage": {"MODULE/stage.py", "compare.toml"},
    "backbone": {"MODULE/towers.py", "MODULE/block.py"},
    "prompts": {"MODULE/prompts.py", "compare.toml"},
    "head": {"MODULE/head.py", "compare.toml"},
    "reference": {"MODULE/memory.py", "compare.toml"},
    "loss": {"MODULE/loss.py", "compare.toml"},
    "scheduler": {"MODULE/schedule.py", "compare.toml"},
    "data-set": {"MODULE/read.py", *SAMPLES},
    "tracker": {"MODULE/follow.py"},
}

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def registry(made: Made, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Registry, Package, Path]]:
    """Everything that is installed and a new package, as if it were installed too."""
    package, folder = made(kind)
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield discover([*entry_points(group=GROUP), EntryPoint(package.module, package.module, GROUP)]), package, folder
    for name in [name for name in sys.modules if name.partition(".")[0] == package.module]:
        del sys.modules[name]


@every_kind
def test_it_has_these_files_and_no_others(made: Made, kind: Kind) -> None:
    package, folder = made(kind)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {name.replace("MODULE", package.module) for name in SHARED | OWN[kind]}
    assert (folder / package.first).is_file()


@every_kind
def test_its_texts_are_whole_and_tidy(made: Made, kind: Kind) -> None:
    _, folder = made(kind)
    for path in folder.rglob("*"):
        if not path.is_file() or path.suffix == ".png" or path.name == "py.typed":
            continue
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n") and not text.endswith("\n\n"), path
        assert not any(line != line.rstrip() or len(line) > 120 for line in text.splitlines()), path
        assert "\n\n\n" not in text or path.suffix == ".py", path
        assert not any(mark in text for mark in ("{{", "{%", "MODULE")), path
        assert path.suffix != ".toml" or tomllib.loads(text)


@every_kind
def test_it_is_clean_to_the_linter(made: Made, kind: Kind) -> None:
    pytest.importorskip("ruff")
    _, folder = made(kind)
    for command in (["check"], ["format", "--check"]):
        ran = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."], cwd=folder, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


@every_kind
def test_its_own_classes_cannot_be_called_like_others_in_its_files(made: Made, kind: Kind) -> None:
    package, folder = made(kind)
    own = {package.class_name, f"{package.class_name}Options"}
    for path in folder.rglob("*.py"):
        named = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                named.add(node.name)
            elif isinstance(node, ast.ImportFrom):
                named |= {alias.asname or alias.name for alias in node.names}
        assert {name for name in named if name[0].isupper()} - own <= IMPORTED, path


@every_kind
def test_installed_it_offers_one_component_and_its_files_are_valid(
    registry: tuple[Registry, Package, Path], kind: Kind
) -> None:
    extended, package, folder = registry
    assert extended.failures == []
    component = extended.get(kind, package.module)
    assert [found for found in extended.components.values() if found.plugin == component.plugin] == [component]
    assert component.description
    assert importlib.import_module(package.module).AAKIT_API == API_VERSION
    load(folder / "experiment.toml", extended)
    if "compare.toml" in OWN[kind]:
        study = load_study(folder / "compare.toml", extended)
        assert len(study.runs) == 5 * len(study.file.variants)
        used = {run.variant: package.module in _components(run.experiment) for run in study.runs}
        assert used["new"] and not used["built_in"]


def _components(experiment: Experiment) -> set[str]:
    single = {kind: getattr(experiment, kind) for kind in ("prompts", "head", "reference", "scheduler")}
    single = {kind: chosen for kind, chosen in single.items() if chosen is not None}
    groups = [experiment.stages, *experiment.losses.values(), single]
    return {chosen.component.name for group in groups for chosen in group.values()}


@every_kind
def test_its_experiment_names_the_new_component(made: Made, kind: Kind) -> None:
    package, folder = made(kind)
    assert f'use = "{package.module}"' in (folder / "experiment.toml").read_text()


@every_kind
def test_what_listing_loads_imports_no_torch(made: Made, kind: Kind) -> None:
    package, folder = made(kind)
    code = f"import sys, {package.module}; print(sorted({{'torch', 'open_clip', 'PIL', 'numpy'}} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "[]\n", ran.stderr


def test_each_sample_is_another_and_masks_cover_what_is_drawn(made: Made) -> None:
    _, folder = made("data-set")
    samples = folder / "sample_data"
    pictures = [path.read_bytes() for name in ("normal", "anomalous") for path in sorted((samples / name).iterdir())]
    assert len(set(pictures)) == 2 * EACH
    for path in sorted((samples / "anomalous").iterdir()):
        with Image.open(path) as image, Image.open(samples / "masks" / path.name) as mask:
            assert image.size == mask.size == (SIDE, SIDE)
            stained = (np.asarray(image) == (90, 60, 40)).all(axis=-1)
            assert stained.any()
            np.testing.assert_array_equal(np.asarray(mask) == 255, stained)
