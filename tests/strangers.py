"""Plugins of made-up distributions, found by their entry points as installed ones are."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from textwrap import dedent

import pytest

GOOD_LOSS = '''
from aaclip_kit import Options, hookimpl

class GoodOptions(Options):
    """A loss."""

@hookimpl
def register_losses(register):
    register("good", "nowhere:Good", GoodOptions)
'''

SHIFT = """
import torch
from aaclip_kit import AttentionStage, StageOptions, hookimpl

class Options(StageOptions):
    "Adds a learnt vector to every token."

class Shift(AttentionStage):
    def __init__(self, options, setting):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(setting.width))

    def forward(self, tokens, context):
        return tokens + self.shift

@hookimpl
def register_attention_stages(register):
    register("shift", Shift, Options)
"""


class Strangers:
    """Writes distributions into a folder of the module search path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def add(self, module: str, source: str, value: str | None = None, version: str | None = "2.0") -> EntryPoint:
        """Install a module and its distribution MODULE-dist; returns the distribution's entry point."""
        (self.folder / f"{module}.py").write_text(dedent(source))
        self.modules.append(module)
        info = self.folder / f"{module}_dist-2.0.dist-info"
        info.mkdir()
        if version is not None:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}-dist\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[aaclip_kit]\n{module} = {value or module}\n")
        importlib.invalidate_caches()
        (entry,) = Distribution.at(info).entry_points
        return entry


@contextmanager
def strangers_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Strangers]:
    """Distributions of `folder`, forgotten again at the end."""
    monkeypatch.syspath_prepend(folder)
    strangers = Strangers(folder)
    yield strangers
    for module in strangers.modules:
        sys.modules.pop(module, None)
