"""The example packages, installed by pip into one fresh environment, and a run with each of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ..conftest import EXPERIMENT
from ..fresh import Fresh

collect_ignore_glob = ["aakit-*"]
"""Their own tests need the packages, and run inside the fresh environment."""


@dataclass(frozen=True)
class Example:
    """One package, the stage that it offers, and a parameter of it that training must move."""

    package: str
    version: str
    stage: str
    parameter: str

    @property
    def source(self) -> Path:
        return Path(__file__).parent / self.package

    @property
    def module(self) -> str:
        return self.package.replace("-", "_")

    def overrides(self) -> list[str]:
        """Puts the stage in the place of both built-in ones."""
        places = (("text_to_image", "text"), ("image_to_text", "vision"))
        keys = [
            key
            for table, tower in places
            for key in (f"{table}.use={self.stage}", f"{table}.tower={tower}", f"{table}.after=[0]")
        ]
        return [word for key in keys for word in ("--set", f"stages.{key}")]


EXAMPLES = (
    Example("aakit-gated-attention", "1.2.3", "gated_attention", "gate"),
    Example("aakit-zero-init-attention", "0.4.0", "zero_init_attention", "out.weight"),
    Example("aakit-perceiver-attention", "2.0.1", "perceiver_attention", "latents"),
)


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the packages' sources are copied to, and their own tests with them."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, copies: Path) -> Fresh:
    """A fresh environment with all three packages."""
    environment = Fresh(tmp_path_factory.mktemp("fresh") / "environment")
    for example in EXAMPLES:
        environment.install(example.source, copy_to=copies)
    return environment


Runs = Callable[..., Path]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, fresh: Fresh, tiny_clip: Path, defects: Path) -> Runs:
    """Runs the small experiment with an example in the place of both built-in stages; the same run only once."""
    folder = tmp_path_factory.mktemp("runs")
    experiment = folder / "small.toml"
    experiment.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))

    @cache
    def run(example: Example, *more: str) -> Path:
        out = folder / "-".join([example.stage, *more])
        changes = [word for key in more for word in ("--set", key)]
        ran = fresh.aakit("run", experiment, "--out", out, *example.overrides(), *changes, cwd=folder)
        assert ran.returncode == 0, ran.stderr
        return out

    return run


def steps(run: Path) -> list[dict[str, Any]]:
    """What each training step of a run reported."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "step"]
