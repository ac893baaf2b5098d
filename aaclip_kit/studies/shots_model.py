"""The model that `aakit shots` scores with: as an experiment file makes or trains it, once, or one trained before."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..checkpoints.find_checkpoint import Trained, checkpoint_in, find_trained
from ..checkpoints.leakage_guard import check_unseen
from ..checkpoints.provenance import read_metadata
from ..comparison.series import open_run, take_up_if_begun
from ..contracts.data import Sample
from ..contracts.errors import UserError
from ..contracts.options import TowerName
from ..data.load_data import Data, load_data
from ..distributed.compute_device import ComputeDevice
from ..evaluation.evaluator import Evaluator
from ..experiment import Experiment, load
from ..experiment.check import REFERENCE
from ..experiment.effects import check_overrides
from ..files.plain_file import checksum_of
from ..hub.address import hub_address
from ..inference.load_model import TrainedModel
from ..plugin_host.registry import Registry
from ..record.run_folder import CHECKPOINT_SUFFIXES
from ..run.assemble import assemble
from ..run.fit_memory import fit_memory
from ..run.loop import Progress, execute
from ..training.loop_plans import build_scheduler, plan_ahead

MODEL: Final = "model"
"""The run's folder, below OUT, of a model that was trained for the curves."""


@dataclass(frozen=True, kw_only=True)
class ShotsModel:
    """A model with a memory that is yet to be filled, and its data: the test images and all references."""

    experiment: Experiment
    data: Data
    evaluator: Evaluator
    attending: Set[TowerName]
    is_trained: bool
    checkpoint: Path | None

    @property
    def device(self) -> ComputeDevice:
        """Where it computes."""
        return self.evaluator.compute_device

    @property
    def workers(self) -> int:
        """Processes that read images."""
        return self.experiment.file.workers

    @property
    def classes(self) -> tuple[str, ...]:
        """The test classes; each has references."""
        return self.data.sets["test"].classes

    def pool(self, name: str) -> list[Sample]:
        """All references of a class."""
        return pool_of(self.data, name)

    def checksum(self) -> str | None:
        """SHA-256 of the checkpoint; None for a model that was trained on nothing."""
        return None if self.checkpoint is None else checksum_of(self.checkpoint)


def pool_of(data: Data, name: str) -> list[Sample]:
    """All references of a class."""
    return [sample for sample in data.sets[REFERENCE].samples if sample.class_name == name]


@dataclass(frozen=True)
class Plan:
    """A checked experiment with its data, and what makes its model, training in a folder below OUT if it must."""

    experiment: Experiment
    data: Data
    make: Callable[[Path, Progress], ShotsModel]


def plan(path: Path, registry: Registry, file: Path | None, overrides: Sequence[str]) -> Plan:
    """Check what `path` is, an experiment file or a trained model, with all its data; nothing is trained or written.

    `file` is the experiment of a model whose checkpoint holds none. Raises `UserError`.
    """
    if path.is_dir() or path.suffix in CHECKPOINT_SUFFIXES or hub_address(path) is not None:
        own = [one for one in overrides if not one.strip().startswith(f"data.{REFERENCE}")]
        check_overrides(own, "scoring", "metrics", "execution")
        found = find_trained(path, registry, file, overrides, roles=["test", REFERENCE])
        trained = replace(found, experiment=_with_all(found.experiment, str(path)))
        model = _of_trained(trained, load_data(trained.experiment, [REFERENCE, "test"]))
        return Plan(trained.experiment, model.data, lambda out, progress: model)
    if file is not None:
        raise UserError("is for a trained model", where="--experiment", fix="give the experiment file alone")
    experiment = _with_all(load(path, registry, overrides), str(path))
    if not plan_ahead(build_scheduler(experiment)):
        untrained = _untrained(experiment)
        return Plan(experiment, untrained.data, lambda out, progress: untrained)
    data = load_data(experiment)

    def make(out: Path, progress: Progress) -> ShotsModel:
        return _of_trained(_train(experiment, out / MODEL, registry, progress), data)

    return Plan(experiment, data, make)


def _with_all(experiment: Experiment, where: str) -> Experiment:
    """The experiment with all images of data.reference, from which the draws are taken."""
    if experiment.reference is None:
        fix = "add [reference], and [data.reference] with normal images of the test classes"
        raise UserError("has no memory whose curve could be drawn", where=f"{where}: {REFERENCE}", fix=fix)
    tables = experiment.data[REFERENCE]
    every = (replace(one, selection=one.selection.model_copy(update={"shots": None})) for one in tables)
    return replace(experiment, data={**experiment.data, REFERENCE: tuple(every)})


def _untrained(experiment: Experiment) -> ShotsModel:
    run = assemble(experiment)
    evaluator = Evaluator.of(run.model, run.compute_device, run.pixels, run.experiment.file, run.ranks)
    return ShotsModel(
        experiment=run.experiment, data=run.data, evaluator=evaluator, attending=frozenset(), is_trained=False,
        checkpoint=None,
    )  # fmt: skip


def _of_trained(trained: Trained, data: Data) -> ShotsModel:
    data = check_unseen(trained.metadata, data, trained.experiment.file.data.allow_overlap)
    scoring = TrainedModel(trained, remembers=False)
    return ShotsModel(
        experiment=trained.experiment, data=data, evaluator=scoring.evaluator_for(data.sets["test"]),
        attending=scoring.attending, is_trained=scoring.is_trained, checkpoint=trained.checkpoint,
    )  # fmt: skip


def _train(experiment: Experiment, folder: Path, registry: Registry, progress: Progress) -> Trained:
    """Train as `aakit run` does, but without the memory, which trains nothing; a run that was begun goes on."""
    data = {role: tables for role, tables in experiment.data.items() if role != REFERENCE}
    alone = replace(experiment, reference=None, data=data)
    with open_run(folder, alone, registry) as run_folder:
        if run_folder is not None:
            assembled = fit_memory(assemble(alone))
            snapshot, lines = take_up_if_begun(run_folder, assembled)
            for line in lines:
                progress.message(line)
            execute(assembled, run_folder, progress, snapshot)
    checkpoint = checkpoint_in(folder)
    return Trained(checkpoint, read_metadata(checkpoint), experiment)
