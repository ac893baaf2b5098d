"""The example packages, installed by pip into one fresh environment, and a run with each of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ..conftest import EXPERIMENT
from ..fresh import Fresh

collect_ignore_glob = ["aakit-*"]
"""Their own tests need the packages, and run inside the fresh environment."""


@dataclass(frozen=True)
class Example:
    """One package, the attention stage that it offers, and a parameter of it that training must move."""

    package: str
    version: str
    component: str
    parameter: str
    kind: ClassVar[str] = "attention-stage"
    replaces: ClassVar[tuple[str, ...]] = ("text_to_image", "image_to_text")
    tables: ClassVar[tuple[str, ...]] = ("stages.text_to_image", "stages.image_to_text")
    contract: ClassVar[tuple[str, ...]] = ("test_in_the_text_tower[S1-", "test_in_the_vision_tower[S1-")

    @property
    def source(self) -> Path:
        return Path(__file__).parent / self.package

    @property
    def module(self) -> str:
        return self.package.replace("-", "_")

    def keys(self) -> list[str]:
        """What puts the stage in the place of both built-in ones."""
        return [
            key
            for table, tower in zip(self.tables, ("text", "vision"), strict=True)
            for key in (f"{table}.use={self.component}", f"{table}.tower={tower}", f"{table}.after=[0]")
        ]

    def overrides(self) -> list[str]:
        """Put the component in the place of what is built in."""
        return [word for key in self.keys() for word in ("--set", key)]

    def weights(self) -> list[str]:
        """The parameter's names in a checkpoint."""
        return [f"sites.{table}.0.{self.parameter}" for table in self.tables]


class PromptsExample(Example):
    """The same of a package that offers prompts."""

    kind = "prompts"
    replaces = ("ensemble",)
    tables = ("prompts",)
    contract = ("test_with_the_image[P1-", "test_without_the_image[P1-")

    def keys(self) -> list[str]:
        return [f"prompts.use={self.component}"]

    def weights(self) -> list[str]:
        return [f"prompts.{self.parameter}"]


EXAMPLES = (
    Example("aakit-gated-attention", "1.2.3", "gated_attention", "gate"),
    Example("aakit-zero-init-attention", "0.4.0", "zero_init_attention", "out.weight"),
    Example("aakit-perceiver-attention", "2.0.1", "perceiver_attention", "latents"),
    PromptsExample("aakit-cocoop-prompts", "0.3.0", "cocoop", "meta.2.weight"),
)


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the packages' sources are copied to, and their own tests with them."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, copies: Path) -> Fresh:
    """A fresh environment with all packages."""
    environment = Fresh(tmp_path_factory.mktemp("fresh") / "environment")
    for example in EXAMPLES:
        environment.install(example.source, copy_to=copies)
    return environment


Runs = Callable[..., Path]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, fresh: Fresh, tiny_clip: Path, defects: Path) -> Runs:
    """Runs the small experiment with an example in the place of what is built in; the same run only once."""
    folder = tmp_path_factory.mktemp("runs")
    experiment = folder / "small.toml"
    experiment.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))

    @cache
    def run(example: Example, *more: str) -> Path:
        out = folder / "-".join([example.component, *more])
        changes = [word for key in more for word in ("--set", key)]
        ran = fresh.aakit("run", experiment, "--out", out, *example.overrides(), *changes, cwd=folder)
        assert ran.returncode == 0, ran.stderr
        return out

    return run


def steps(run: Path) -> list[dict[str, Any]]:
    """What each training step of a run reported."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "step"]
