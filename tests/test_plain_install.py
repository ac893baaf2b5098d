"""The toolkit installed as a user has it, not from a clone: what is there and works at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from .fresh import Fresh


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fresh, str]:
    """An environment with the toolkit in it, and what was said while it was installed."""
    place = tmp_path_factory.mktemp("plain")
    fresh = Fresh(place / "environment")
    return fresh, fresh.install_toolkit(place / "source")


@pytest.mark.slow
def test_the_build_warns_of_nothing(installed: tuple[Fresh, str]) -> None:
    _, told = installed
    assert "Warning" not in told, "setuptools, by way of pip"


@pytest.mark.slow
def test_a_shipped_experiment_is_written_and_assembled(installed: tuple[Fresh, str], tmp_path: Path) -> None:
    fresh, _ = installed
    where = fresh.run("-c", "import aaclip_kit; print(aaclip_kit.__file__)", cwd=tmp_path).stdout
    assert Path(where).is_relative_to(fresh.scripts.parent), "it is not the clone that answers"
    assert fresh.aakit("init", "feedback", cwd=tmp_path).returncode == 0
    few = [
        f"--set=data.{role}.{part}.images_per_class=2" for role in ("train", "validation", "test") for part in (0, 1)
    ]
    ran = fresh.aakit("run", "feedback.toml", "--dry-run", *few, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "text_to_image" in ran.stdout
