"""What the benchmarks run on: drawn noise in the MVTec layout, and the published experiment with random weights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from aaclip_kit import Backbone, DataSet, PhasePlan, TowerName
from aaclip_kit.cache.feature_store import FeatureStore
from aaclip_kit.data.loader import Batch
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble, build_phase
from aaclip_kit.training.loop_plans import plan_ahead
from aaclip_kit.training.phase import Phase

FILE = Path(__file__).parents[1] / "experiments" / "published_vitl_visa.toml"
CLASSES = ("metal_nut", "transistor", "leather", "hazelnut", "toothbrush", "carpet", "zipper", "tile")
SCORED = "capsule"
EMBEDDED = "embedded"
"""As a load's model, the backbone of that name; all others are open_clip's, with random weights."""

Kind = Literal["stage1", "stage2", "scoring", "evaluation"]


@dataclass(frozen=True)
class Load:
    """One measurement: what is done, on which architecture, image side and batch, and how often."""

    kind: Kind
    size: int
    batch: int
    model: str = "ViT-L-14-336"
    levels: tuple[int, ...] = (6, 12, 18, 24)
    device: str = "cpu"
    classes: int = 2
    images: int = 0
    """Images that an evaluation scores in all."""
    own: int = 3
    naive: int = 3
    cached: bool = True
    """Stage 1 is measured with kept features too."""

    @property
    def key(self) -> str:
        """Name among the results."""
        classes = "" if self.classes == Load.classes else f"_c{self.classes}"
        return f"{self.kind}_{self.size}_b{self.batch}{classes}"


class Workload:
    """Assembled runs for one load. They share one frozen backbone, which takes seconds to build."""

    def __init__(self, load: Load, folder: Path) -> None:
        self.load, self.folder = load, folder
        self._backbone: Backbone | None = None
        training = dict.fromkeys(CLASSES[: load.classes], load.batch // load.classes)
        draw(folder / "train", training, load.size, seed=0)
        scored = load.images or load.batch * (load.own + 1)
        draw(folder / "test", {SCORED: scored}, load.size, seed=1)

    def assembled(self, *overrides: str) -> Run:
        """The published experiment, switches included, at this size and with these overrides."""
        size, batch = self.load.size, self.load.batch
        given = [
            *self._backbone_keys(), f"backbone.image_size={size}",
            f"model.levels={list(self.load.levels)}", f"device={self.load.device}", "workers=0",
            f"scheduler.text_batch={batch}", f"scheduler.image_batch={batch}", f"evaluation.batch_size={batch}",
        ]  # fmt: skip
        for role in ("train", "test"):
            given += [f"data.{role}.use=folder", f"data.{role}.root={self.folder / role}"]
        experiment = load(FILE, discover(), [*given, *overrides])
        chosen = experiment.backbone
        built = self._backbone or chosen.component.build(chosen.options)
        self._backbone = built
        component = replace(chosen.component, factory=lambda options: built)
        return assemble(replace(experiment, backbone=replace(chosen, component=component)))

    def _backbone_keys(self) -> tuple[str, ...]:
        if self.load.model == EMBEDDED:
            return f"backbone.use={EMBEDDED}", "stages.vision_adapter.after=[0, 1]"
        return f"backbone.model={self.load.model}", "backbone.pretrained=none"


def phase_of(run: Run, tower: TowerName, epochs: int, store: FeatureStore | None = None) -> Phase:
    """The first phase of a tower, for so many epochs, its stages with a context acting; `store` keeps features."""
    phases = plan_ahead(run.scheduler)[0].phases
    number, plan = next((number, plan) for number, plan in enumerate(phases) if plan.train == tower)
    attending: frozenset[TowerName] = frozenset({"text"} if tower == "text" else {"text", "vision"})
    longer: PhasePlan = replace(plan, epochs=epochs)
    return build_phase(run, longer, 1, number, attending, store)


def first_batch(phase: Phase) -> Batch:
    """The first batch of a phase, on its device."""
    return next(iter(phase.batches.epoch(1))).to(phase.compute_device.device)


def scored_data(run: Run) -> DataSet:
    """The images that are scored: one class."""
    return run.data.sets["test"]


def draw(root: Path, images: dict[str, int], side: int, seed: int) -> None:
    """Noise for each class; every second image has a bright square for a defect."""
    random = np.random.default_rng(seed)
    for start, (name, count) in enumerate(images.items()):
        for number in range(start, start + count):
            pixels = random.integers(0, 120, (side, side, 3), dtype=np.uint8)
            kind = "square" if number % 2 else "good"
            if number % 2:
                mask = np.zeros((side, side), np.uint8)
                mask[side // 4 : side // 2, side // 4 : side // 2] = 255
                pixels[mask > 0] = 250
                _save(mask, root / name / "ground_truth" / kind / f"{number:03}_mask.png")
            _save(pixels, root / name / "test" / kind / f"{number:03}.png")


def _save(values: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
