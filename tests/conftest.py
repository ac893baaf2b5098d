"""Shape annotations are checked while tests run, and only then. Shared data and models are small and made here."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

TENSOR_ROOMS = (
    *("annotations", "contracts", "data", "kernels.maps", "kernels.nearest", "model", "evaluation", "training"),
    *("checkpoints", "report.attention_maps", "report.examples", "report.figures", "run", "inference", "comparison"),
    "studies",
)
TENSOR_PLUGINS = (
    *("clip", "embedded", "open_clip", "timm_vit", "attention", "adapter", "prompts", "projections", "losses"),
    *("anomaly_clip.head", "anomaly_clip.prompts", "april_gan", "text_free", "win_clip.head", "win_clip.memory"),
    *("ada_clip.fusion", "ada_clip.head", "ada_clip.prompt_tokens", "patch_memory.memory", "patch_memory.pairs"),
    "anomaly_dino.memory",
)
install_import_hook(
    [f"aaclip_kit.{room}" for room in TENSOR_ROOMS] + [f"aaclip_kit_plugins.{plugin}" for plugin in TENSOR_PLUGINS],
    "beartype.beartype",
)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from .command import Command, command  # noqa: E402
from .once import once  # noqa: E402
from .order import LongestFirst  # noqa: E402
from .strangers import Strangers, strangers_in  # noqa: E402

SHARED = Path(__file__).parents[2] / "shared"
"""Goldens and real images, where a developer has them."""

TINY: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 8, "width": 32, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 4},
}
"""Widths that all differ, so that a mix-up cannot pass."""


def pytest_configure(config: pytest.Config) -> None:
    """The longest tests come first, also where several processes share them; what is loaded until then stays."""
    gc.disable()
    config.pluginmanager.register(LongestFirst(config))


def pytest_collection_finish() -> None:
    """Collect garbage from now on, but never look through the packages again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # the models are tiny; threads would only wait for one another


@pytest.fixture
def aakit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command, in this process."""
    return command(monkeypatch, capsys)


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Strangers]:
    """A folder of the module search path for made-up plugins."""
    folder = tmp_path / "site"
    folder.mkdir()
    with strangers_in(folder, monkeypatch) as found:
        yield found


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in open_clip's format that holds a configuration and no weights."""
    config = {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}
    text = json.dumps(config)
    return once(tmp_path_factory, "tiny_clip", lambda folder: (folder / "open_clip_config.json").write_text(text))


@pytest.fixture(scope="session")
def defects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes in the MVTec layout, `red_cloth` and `green_wood`, 40 px, 4 normal and 4 anomalous images each."""

    def draw(root: Path) -> None:
        for number, (name, channel) in enumerate((("red_cloth", 0), ("green_wood", 1))):
            write_class(root, name, channel, seed=number)

    return once(tmp_path_factory, "defects", draw)


def write_class(root: Path, name: str, channel: int, seed: int, side: int = 40) -> None:
    """Noise of one colour; anomalous images have a bright square."""
    random = np.random.default_rng(seed)
    for kind in ("good", "spot"):
        (root / name / "test" / kind).mkdir(parents=True)
        (root / name / "ground_truth" / "spot").mkdir(parents=True, exist_ok=True)
        for index in range(4):
            image = random.integers(0, 60, (side, side, 3), dtype=np.uint8)
            image[..., channel] += 100
            if kind == "spot":
                mask = np.zeros((side, side), np.uint8)
                mask[10 : 20 + index, 8:22] = 255
                image[mask > 0] = 250
                Image.fromarray(mask).save(root / name / "ground_truth" / "spot" / f"{index:03}_mask.png")
            Image.fromarray(image).save(root / name / "test" / kind / f"{index:03}.png")


# What a step needs of memory is not looked at, which costs more than so small a run; the tests of that plan look.
EXPERIMENT = """
name = "small"
seed = 3
[compute]
recompute = "off"
[backbone]
use = "open_clip"
model = "{model}"
pretrained = "none"
[stages.text_to_image]
use = "text_to_image"
[stages.image_to_text]
use = "image_to_text"
[stages.text_adapter]
use = "residual_adapter"
tower = "text"
after = [0, 1, 2]
[stages.vision_adapter]
use = "residual_adapter"
tower = "vision"
after = [0, 1]
[losses.text.segmentation]
use = "segmentation"
[losses.text.orthogonality]
use = "orthogonality"
weight = 0.1
[losses.vision.segmentation]
use = "segmentation"
[losses.vision.detection]
use = "image_cross_entropy"
[scheduler]
use = "feedback"
text_epochs = [1, 1]
image_epochs = [1, 1]
rate_factors = [1.0, 0.5]
text_batch = 4
image_batch = 4
[data.train]
use = "folder"
root = "{data}"
classes = ["red_cloth"]
[data.test]
use = "folder"
root = "{data}"
classes = ["green_wood"]
"""


@pytest.fixture
def small_experiment(tmp_path: Path, tiny_clip: Path, defects: Path) -> Path:
    """An experiment file: a tiny random backbone, two loops, drawn squares."""
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path) -> Iterator[Path]:
    """The folder of a finished run of the small experiment, with thresholds. Tests change a copy, never this one."""
    from aaclip_kit.cli.screen import QuietScreen
    from aaclip_kit.experiment import load
    from aaclip_kit.plugin_host.discovery import discover
    from aaclip_kit.record.run_folder import RunFolder
    from aaclip_kit.run.assemble import assemble
    from aaclip_kit.run.loop import execute

    def train(folder: Path) -> None:
        file = folder / "small.toml"
        file.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
        run = assemble(load(file, discover(), ["calibration.held_out=0.5", "device=cpu"]))
        execute(run, RunFolder.create(folder / "run"), QuietScreen())

    run = once(tmp_path_factory, "trained", train) / "run"
    before = _stamps(run)
    yield run
    assert _stamps(run) == before, "a test changed what the others look at"


def _stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of the last change of every file."""
    found = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (one.st_size, one.st_mtime_ns) for path, one in found.items()}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No curve is drawn, which is half of what so small a run costs: for tests whose subject is not the report."""

    def blank(drawing: object, out: io.BytesIO | io.StringIO, **options: object) -> None:
        drawn = "<svg xmlns='http://www.w3.org/2000/svg'/>"
        out.write(drawn) if isinstance(out, io.StringIO) else out.write(drawn.encode())

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", blank)
