"""A small experiment of a method: the tiny random backbone, drawn squares, one phase on frozen features."""

from __future__ import annotations

from pathlib import Path

from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble

FILE = """
name = "method"
seed = 3
[compute]
recompute = "off"
[calibration]
held_out = 0
[backbone]
use = "open_clip"
model = "{model}"
pretrained = "none"
[augmentation]
geometry = 0.0
color = 0.0
[losses.vision.focal]
use = "focal"
[losses.vision.dice]
use = "dice"
channels = "abnormal"
[scheduler]
use = "single"
train = "vision"
epochs = 2
batch = 4
[data.train]
use = "folder"
root = "{data}"
classes = ["red_cloth"]
[data.test]
use = "folder"
root = "{data}"
classes = ["green_wood"]
"""


def write_method(folder: Path, model: Path, data: Path, tables: str) -> Path:
    """The experiment file with more tables."""
    path = folder / "method.toml"
    path.write_text(FILE.format(model=model, data=data) + tables)
    return path


def assembled(path: Path, *overrides: str) -> Run:
    """The file's run."""
    return assemble(load(path, discover(), overrides))
