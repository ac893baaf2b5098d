"""A new package of each kind in a fresh environment, as its author has it: installed, tested, run, without an edit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from aaclip_kit.plugin_host.registry import KINDS, Kind

from ..fresh import Fresh


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """The toolkit is installed as from a wheel, so that its templates and type information are those of its package."""
    place = tmp_path_factory.mktemp("fresh")
    fresh = Fresh(place / "environment")
    fresh.install_toolkit(place / "source")
    return fresh


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the type checker knows of the packages that all kinds import."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_works_as_it_is_written(fresh: Fresh, cache: Path, kind: Kind, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    package, module = tmp_path / f"at-once-{kind}", f"at-once-{kind}".replace("-", "_")
    written = fresh.aakit("new-plugin", package.name, "--kind", kind, cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    fresh.install(package, editable=True)

    checked = fresh.run("-m", "mypy", "--strict", "--cache-dir", cache, ".", cwd=package)
    assert checked.returncode == 0, checked.stdout
    tested = fresh.run("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", cwd=package)
    assert tested.returncode == 0, tested.stdout + tested.stderr

    ran = fresh.aakit("run", "experiment.toml", "--out", "run", cwd=package)
    assert ran.returncode == 0, ran.stderr
    loops = json.loads((package / "run" / "metrics.json").read_text())["loops"]
    assert math.isfinite(loops[-1]["mean"]["pixel_auroc"])
    if kind == "tracker":  # no part of what a run is made with
        (sent,) = (package / "run" / "tracking").glob(f"{module}*/sent.json")
        assert json.loads(sent.read_text())["finished"]
        return
    used = json.loads((package / "run" / "manifest.json").read_text())["plugins"]
    assert used[f"{kind}:{module}"] == f"{package.name} 0.1.0 ({module})"
