"""From a checked experiment to the objects of a run, and from a phase's plan to the phase."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property

import PIL
import torch

from ..cache.feature_store import FeatureStore, open_store
from ..cache.keys import backbone_identity
from ..checkpoints.checkpoint import load_into
from ..checkpoints.find_checkpoint import checkpoint_in
from ..checkpoints.leakage_guard import check_unseen
from ..checkpoints.provenance import Metadata, read_metadata
from ..contracts.errors import UserError, no_text_tower
from ..contracts.options import TowerName
from ..contracts.schedule import LoopScheduler, PhasePlan, Trains
from ..data.load_data import Data, HeldOut, held_out, load_data
from ..data.loader import Pixels, TrainBatches
from ..distributed.compute_device import ComputeDevice
from ..distributed.random_streams import drawn_for
from ..distributed.ranks import ALONE, Ranks
from ..experiment import ComponentConfig, Experiment
from ..kernels.norm_matched import why_not_fused
from ..model.anomaly_model import AnomalyModel
from ..model.build import build_model, check_conditioning
from ..model.image_tower import FIXED_BATCH
from ..tracking.live import check_trackers
from ..training.feature_cache import CachedFeatures
from ..training.loop_plans import build_scheduler, plan_ahead
from ..training.losses import WeightedLosses, made_by, trained_by
from ..training.phase import Phase
from .memory_plan import MemoryPlan


@dataclass(frozen=True)
class Run:
    """Everything assembled; nothing has been written yet."""

    experiment: Experiment
    compute_device: ComputeDevice
    data: Data
    model: AnomalyModel
    losses: Mapping[str, WeightedLosses]
    scheduler: LoopScheduler
    fresh_stages: tuple[str, ...] | None
    """Stages that the [init] checkpoint lacked; None without a checkpoint."""
    start: Metadata | None
    """What the [init] checkpoint says of itself; None without a checkpoint."""
    calibration: HeldOut
    """Images that thresholds are chosen on."""
    ranks: Ranks = ALONE
    """The processes that the run is of."""
    memory: MemoryPlan | None = None
    """What the run needs of memory; None where nobody has asked."""

    @cached_property
    def pixels(self) -> Pixels:
        """How pictures become tensors for this backbone; the run decodes them once for all its epochs."""
        return Pixels.of(self.model.backbone)


def assemble(experiment: Experiment, ranks: Ranks = ALONE) -> Run:
    """Build and check everything, alike on each of several ranks. Raises `UserError` before anything is written."""
    file = experiment.file
    compute_device = ComputeDevice.choose(file.device, file.precision, ranks)
    check_shared(experiment, ranks)
    check_trackers(experiment.trackers)
    if file.compute.fused_residual == "on" and (reason := why_not_fused(compute_device.device)):
        raise UserError(f"the fused kernel cannot run: {reason}", where="compute.fused_residual", fix='set it to "off"')
    data, calibration = held_out(load_data(experiment), file.calibration.held_out, file.seed)
    torch.manual_seed(file.seed)  # for what draws without a stream of its own
    model = build_model(experiment, data.real_names).to(compute_device.device)
    model.image.recompute = file.compute.recompute == "on"
    start, fresh = _initialise(model, experiment) or (None, None)
    if start is not None:
        data = check_unseen(start, data, file.data.allow_overlap, "init.checkpoint")
    # The resolved copy names the levels that it came to.
    with_levels = file.model.model_copy(update={"levels": model.levels})
    experiment = replace(experiment, file=file.model_copy(update={"model": with_levels}))
    check_conditioning(experiment, model.slots)
    losses = {phase: _build_losses(group, file.seed, phase) for phase, group in experiment.losses.items()}
    scheduler = build_scheduler(experiment)
    planned = [phase for plan in plan_ahead(scheduler) for phase in plan.phases]
    if start is not None and not planned:
        fix = "leave it out; aakit evaluate scores a checkpoint"
        raise UserError(
            "the scheduler plans no loop, and untrained weights are scored", where="init.checkpoint", fix=fix
        )
    for trains in dict.fromkeys(phase.train for phase in planned):
        _check_phase(model, losses[trains], trains)
    return Run(experiment, compute_device, data, model, losses, scheduler, fresh, start, calibration, ranks)


def check_shared(experiment: Experiment, ranks: Ranks) -> None:
    """Raise `UserError` where several ranks would not give what one gives."""
    if ranks.is_distributed and experiment.switches.surgery_attention == "batch":
        problem = f"attention over the batch mixes its images, which {ranks.size} processes share"
        fix = 'set it to "tokens", or start one process'
        raise UserError(problem, where="switches.surgery_attention", fix=fix)


def _build_losses(group: dict[str, ComponentConfig], seed: int, tower: str) -> WeightedLosses:
    built = {}
    for name, chosen in group.items():
        with drawn_for(seed, "loss", tower, name):
            built[name] = chosen.component.build(chosen.options), chosen.weight
    return WeightedLosses(built, {name: str(chosen.component.plugin) for name, chosen in group.items()})


def _check_phase(model: AnomalyModel, group: WeightedLosses, trains: Trains) -> None:
    """Raise `UserError` where a phase that is planned could train nothing."""
    if trains == "text" and model.backbone.text is None:
        fix = 'choose one that trains vision alone, such as use = "single" with train = "vision"'
        raise no_text_tower("a phase that it plans", "scheduler", fix)
    if not model.trained_parameters(trains):
        problem = f"plans a phase that trains {trains}, where neither stages nor prompts nor the head have weights"
        fix = 'add what is to be trained, or score what there is untrained, with use = "none"'
        raise UserError(problem, where="scheduler", fix=fix)
    where, made, trained = f"losses.{trains}", made_by(model.head), trained_by(trains)
    for name, (loss, _) in group.losses.items():
        if unmade := sorted(set(loss.needs) - made):
            problem = f"needs {', '.join(unmade)}, which the head does not make"
            raise UserError(problem, where=f"{where}.{name}", fix=f"it makes {', '.join(sorted(made))}")
    if not group.needs & trained:
        problem = f"no loss here depends on what the phase trains ({trains})"
        fix = f'add one that needs {" or ".join(sorted(trained & made))}, such as use = "segmentation"'
        raise UserError(problem, where=where, fix=fix)


def _initialise(model: AnomalyModel, experiment: Experiment) -> tuple[Metadata, tuple[str, ...]] | None:
    """Load the [init] checkpoint, if there is one; what it says of itself, and the stages that it lacks."""
    path = experiment.file.init.checkpoint
    if path is None:
        return None
    try:
        checkpoint = checkpoint_in(path) if path.is_dir() else path
        return read_metadata(checkpoint), tuple(load_into(model, checkpoint))
    except UserError:
        if experiment.switches.checkpoint_mismatch == "ignore":
            return None
        raise


def build_phase(
    run: Run, plan: PhasePlan, loop: int, number: int, attending: Set[TowerName], store: FeatureStore | None = None
) -> Phase:
    """A phase of a loop, on the training images; towers `attending` use their stages with a context.

    `number` is what `stream_number` gives. A phase keeps what it sees of the untouched backbone in the `store`, unless
    nothing could ever be taken from it again.
    """
    file, model = run.experiment.file, run.model
    batches = TrainBatches(
        run.data.sets["train"].samples, run.pixels, file.augmentation,
        augment="geometry" if plan.train == "text" or not file.augmentation.color else "geometry_and_color",
        batch_size=plan.batch_size, key=(file.seed, loop, number), workers=file.workers, ranks=run.ranks,
    )  # fmt: skip
    cached = None
    seen = plan.train == "text" or model.vision_is_fixed or model.goes_by_embedding
    # A store's keys say nothing of colours that are changed.
    seen = seen and batches.augment == "geometry"
    if store is not None and seen and (batches.views_come_again or file.cache.features == "disk"):
        contents, at_once = run.data.fingerprints["train"].images, min(FIXED_BATCH, plan.batch_size)
        cached = CachedFeatures(model.image, store, contents, file.augmentation, batches.image, at_once)
    return Phase(
        model=model, losses=run.losses[plan.train], plan=plan, batches=batches,
        compute_device=run.compute_device, loop=loop, attending=attending, cached=cached,
    )  # fmt: skip


def open_feature_store(run: Run) -> FeatureStore | None:
    """Where frozen features are kept; nowhere with V-V attention over the batch, where they are no image's own."""
    file, model = run.experiment.file, run.model
    if file.switches.surgery_attention == "batch":
        return None
    facts = {
        "levels": model.levels,
        "place": f"{run.compute_device.device.type} {run.compute_device.precision}",
        "plugin": str(run.experiment.backbone.component.plugin),
        "pillow": PIL.__version__,
    }
    return open_store(file.cache, lambda: backbone_identity(model.backbone, facts))
