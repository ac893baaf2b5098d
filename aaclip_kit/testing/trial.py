"""A short run of the real engine with the component under test in it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.checkpoint import load_into, trained_state
from ..contracts.schedule import LoopScheduler
from ..experiment import Experiment, load
from ..model.anomaly_model import AnomalyModel
from ..model.image_tower import Untouched
from ..record.run_folder import RunFolder
from ..run.assemble import Run, assemble
from ..run.loop import execute
from ..run.state import Metrics
from .subject import Breach, Subject
from .tiny import tiny_experiment

Lead = Callable[[LoopScheduler], LoopScheduler]


@dataclass(frozen=True)
class Trial:
    """A finished run: the trained tensors before and after, the backbone's before, a model of the last checkpoint."""

    run: Run
    metrics: Metrics
    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]
    backbone: Mapping[str, Tensor]
    loaded: AnomalyModel
    folder: Path

    @property
    def changes(self) -> dict[str, float]:
        """The largest change of each trained tensor; not a number where it is not finite."""
        return {name: float((self.after[name] - value).abs().max()) for name, value in self.before.items()}


class Unwatched:
    """Progress that nobody reads."""

    def message(self, *said: Any, **named: Any) -> None:
        """Pass over it."""

    phase = step = evaluated = message


@contextmanager
def run_tiny(subject: Subject, lead: Lead | None = None, **tables: Any) -> Iterator[Trial]:
    """Run the tiny experiment with these tables, and load its last checkpoint under another seed.

    `lead` may put another scheduler in the place of the experiment's. Raises `Breach` where the run leaves trained
    tensors that are not finite.
    """
    with TemporaryDirectory(prefix="aakit-") as name:
        folder = Path(name)
        file = tiny_experiment(folder, **{"calibration": {"held_out": 0.0}, "evaluation": {"heatmaps": 0}, **tables})
        run = assemble(_led(load(file, subject.registry), lead))
        before, backbone = deepcopy((trained_state(run.model), run.model.backbone.state_dict()))
        made = RunFolder.create(folder / "run")
        metrics = execute(run, made, Unwatched())
        other = assemble(_led(load(file, subject.registry, ["seed=77"]), lead)).model
        last = made.checkpoint_path(len(metrics["loops"]), ".safetensors")
        load_into(other, last)
        trial = Trial(run, metrics, before, trained_state(run.model), backbone, other, made.path)
        if bad := [name for name, change in trial.changes.items() if isnan(change)]:
            raise Breach(f"after the run these are not finite: {', '.join(bad)}")
        yield trial


def _led(experiment: Experiment, lead: Lead | None) -> Experiment:
    if lead is None:
        return experiment
    chosen = experiment.scheduler
    component = replace(chosen.component, factory=lambda options: lead(chosen.component.build(options)))
    return replace(experiment, scheduler=replace(chosen, component=component))


@torch.no_grad()
def differences(trial: Trial) -> float:
    """The largest difference between features, and maps, of the trained model and of the loaded one."""
    models, size = (trial.run.model, trial.loaded), trial.run.pixels.size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    classes = (trial.run.data.sets["test"].classes[0],) * 2
    features = [_features(model, images, classes) for model in models]
    return max(float((one - two).abs().max()) for one, two in zip(*features, strict=True))


def _features(model: AnomalyModel, images: Tensor, classes: tuple[str, ...]) -> list[Tensor]:
    seen, context = model.text_phase_inputs(images, classes, True, {"text", "vision"})
    text = None
    if model.text is not None:
        embedding = Untouched(model.image, images).embedding() if model.text.goes_by_image else None
        text = model.text_features(classes, context, embedding=embedding)
    own = model.image_features(images, classes, True)
    maps = model.head.score(own, text, images.shape[-1], "industrial", True).maps
    return [*seen.levels.values(), maps, *([] if text is None else [text])]
