"""A stranger's package: installed beside the toolkit, found by its entry point, used by an experiment file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

PACKAGE = Path(__file__).parent / "aakit-gated-attention"
STAGE = """
[stages.gated]
use = "gated_attention"
after = [0, 3]
gate = 0.25
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the package into. The source is copied first, since a build leaves files in it."""
    pytest.importorskip("setuptools", minversion="77", reason="building the package offline needs setuptools")
    pytest.importorskip("pip", reason="the package is installed as a stranger would, with pip")
    source, target = tmp_path_factory.mktemp("source") / PACKAGE.name, tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, timeout=300)
    return target


def aakit(installed: Path, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "aaclip_kit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)


def test_its_stage_is_listed_and_shown_with_its_owner(installed: Path, tmp_path: Path) -> None:
    listed = aakit(installed, "list-plugins", "--json", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    found = json.loads(listed.stdout)
    assert found["problems"] == []
    (stage,) = [component for component in found["components"] if component["name"] == "gated_attention"]
    assert stage["kind"] == "attention-stage"
    assert (stage["package"], stage["version"]) == ("aakit-gated-attention", "1.2.3")
    assert "learnt gate" in stage["description"]
    shown = aakit(installed, "show", "gated_attention", cwd=tmp_path)
    assert "float >= -3, <= 3" in " ".join(shown.stdout.split())


def test_an_experiment_trains_it(installed: Path, small_experiment: Path, tmp_path: Path) -> None:
    small_experiment.write_text(small_experiment.read_text() + STAGE)
    ran = aakit(installed, "run", small_experiment, "--out", tmp_path / "run", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["plugins"]["attention-stage:gated_attention"].startswith("aakit-gated-attention 1.2.3")
    one, two = (load_file(tmp_path / "run" / "checkpoints" / f"loop_{loop}.safetensors") for loop in (1, 2))
    for block in (0, 3):
        gate = f"sites.stages.gated.{block}.gate"
        assert 0 < abs(one[gate] - 0.25) < 0.1
        assert one[gate] != two[gate]


def test_its_faults_are_plain_messages(installed: Path, small_experiment: Path, tmp_path: Path) -> None:
    small_experiment.write_text(small_experiment.read_text() + STAGE)
    for override, said in (("gate=4", "stages.gated.gate"), ("heads=5", "5 heads do not divide 16")):
        options = ["--out", tmp_path / "run", "--set", f"stages.gated.{override}"]
        ran = aakit(installed, "run", small_experiment, *options, cwd=tmp_path)
        assert ran.returncode == 2
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr
        assert not (tmp_path / "run").exists()


def test_without_it_the_experiment_is_refused(small_experiment: Path, tmp_path: Path) -> None:
    small_experiment.write_text(small_experiment.read_text() + STAGE)
    ran = aakit(Path(), "validate", small_experiment, cwd=tmp_path)
    assert ran.returncode == 2
    assert "no attention-stage called 'gated_attention'" in ran.stderr
