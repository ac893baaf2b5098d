"""From a checked experiment to the objects of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch

from ..contracts.backbone import Backbone
from ..contracts.errors import UserError
from ..contracts.loss import Loss
from ..contracts.options import StageOptions, TowerName
from ..contracts.schedule import LoopPlan, LoopRecord, LoopScheduler, PhasePlan
from ..contracts.stage import AttentionStage, StageSetting
from ..data.batches import Pixels
from ..data.held_out import HeldOut, held_out
from ..data.sources import Data, load_data
from ..experiment import Chosen, Experiment
from ..experiment.schema import ComputeTable
from ..kernels.norm_matched import why_not_fused
from ..trained.checkpoint import load_into
from ..trained.metadata import Metadata, read_metadata
from ..trained.source import checkpoint_in
from ..trained.unseen import check_unseen
from .detector import Detector
from .device import Place
from .heads import Heads
from .needs import MemoryPlan
from .planned import MOST_LOOPS, Planned
from .prompts import PromptBook
from .ranks import ALONE, Ranks
from .sites import Sites
from .training import MADE, TRAINED, WeightedLosses


@dataclass(frozen=True)
class Run:
    """Everything assembled; nothing has been written yet."""

    experiment: Experiment
    place: Place
    data: Data
    detector: Detector
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

    @property
    def pixels(self) -> Pixels:
        """How pictures become tensors for this backbone."""
        backbone = self.detector.backbone
        return Pixels(backbone.image_size, backbone.image_mean, backbone.image_std)


def assemble(experiment: Experiment, ranks: Ranks = ALONE) -> Run:
    """Build and check everything, alike on each of several ranks. Raises `UserError` before anything is written."""
    file = experiment.file
    place = Place.choose(file.device, file.precision, ranks)
    check_shared(experiment, ranks)
    _check_fused(file.compute, place.device)
    data, calibration = held_out(load_data(experiment), file.calibration.held_out, file.seed)
    torch.manual_seed(file.seed)
    detector = build_detector(experiment, data.real_names).to(place.device)
    detector.image.recompute = file.compute.recompute == "on"
    start, fresh = _initialise(detector, experiment) or (None, None)
    if start is not None:
        data = check_unseen(start, data, file.data.allow_overlap, "init.checkpoint")
    experiment = _with_levels(experiment, detector.levels)
    check_conditioning(experiment, detector.sites)
    losses = {phase: _build_losses(group) for phase, group in experiment.losses.items()}
    scheduler = build_scheduler(experiment)
    planned = [phase for plan in plan_ahead(scheduler) for phase in plan.phases]
    for tower in dict.fromkeys(phase.train for phase in planned):
        _check_losses(losses[tower], tower)
    _check_batches(planned, ranks)
    return Run(experiment, place, data, detector, losses, scheduler, fresh, start, calibration, ranks)


def build_detector(experiment: Experiment, real_names: Mapping[str, str]) -> Detector:
    """Backbone, stages and heads, with the random state as it is."""
    chosen = experiment.backbone
    backbone: Backbone = chosen.component.build(chosen.options)
    table = experiment.file.model
    levels = table.levels or default_levels(backbone.vision.depth)
    _check_levels(levels, backbone.vision.depth, experiment.switches.trained_context == "one_block_more")
    sites = Sites()
    sites.fused = experiment.file.compute.fused_residual == "on"
    for name, stage in experiment.stages.items():
        _place(sites, name, stage, backbone)
    heads = Heads(backbone, levels, table.projection_activation)
    prompts = PromptBook.of(backbone, real_names)
    return Detector(backbone, sites, heads, levels, prompts, experiment.switches, table.text_context)


def build_scheduler(experiment: Experiment) -> LoopScheduler:
    """The loop scheduler, whose plans are looked at before the engine goes by them."""
    component = experiment.scheduler.component
    return Planned(component.build(experiment.scheduler.options), str(component.plugin))


def default_levels(depth: int) -> tuple[int, ...]:
    """The four quarters of the depth: 6, 12, 18, 24 of 24 blocks."""
    return tuple(sorted({round(depth * quarter / 4) for quarter in (1, 2, 3, 4)} - {0}))


def plan_ahead(scheduler: LoopScheduler) -> list[LoopPlan]:
    """The loops as far as they are known now: what the scheduler plans if it learns nothing on the way."""
    history: list[LoopRecord] = []
    while len(history) < MOST_LOOPS and (plan := scheduler.next_loop(tuple(history))) is not None:
        history.append(LoopRecord(plan))
    return [record.plan for record in history]


def stage_setting(backbone: Backbone, tower: TowerName, block: int) -> StageSetting:
    """What the factory of a stage after `block` is told."""
    text, vision = backbone.text.width, backbone.vision.width
    width = text if tower == "text" else vision
    return StageSetting(tower, block, width, text, vision, backbone.embedding_width, text)


def check_shared(experiment: Experiment, ranks: Ranks) -> None:
    """Raise `UserError` where several ranks would not give what one gives."""
    if ranks.together and experiment.switches.surgery_attention == "batch":
        problem = f"attention over the batch mixes its images, which {ranks.size} processes share"
        fix = 'set it to "tokens", or start one process'
        raise UserError(problem, where="switches.surgery_attention", fix=fix)


def _check_batches(phases: Sequence[PhasePlan], ranks: Ranks) -> None:
    for phase in phases:
        if phase.batch_size < ranks.size:
            problem = f"the {phase.train} phase has batches of {phase.batch_size}, too few for {ranks.size} processes"
            fix = f"plan batches of at least {ranks.size} images, or start fewer processes"
            raise UserError(problem, where="scheduler", fix=fix)


def _check_fused(table: ComputeTable, device: torch.device) -> None:
    if table.fused_residual == "on" and (reason := why_not_fused(device)):
        raise UserError(f"the fused kernel cannot run: {reason}", where="compute.fused_residual", fix='set it to "off"')


def _place(sites: Sites, name: str, chosen: Chosen, backbone: Backbone) -> None:
    options = cast(StageOptions, chosen.options)
    if len(set(options.after)) < len(options.after):
        problem = f"{list(options.after)} names a block twice"
        raise UserError(problem, where=f"stages.{name}.after", fix="name each block once; a second stage can share it")
    tower = backbone.text if options.tower == "text" else backbone.vision
    for block in options.after:
        if block >= tower.depth:
            problem = f"there is no block {block}: the {options.tower} tower has blocks 0 to {tower.depth - 1}"
            raise UserError(problem, where=f"stages.{name}.after", fix="name blocks that the backbone has")
        stage: AttentionStage = chosen.component.build(options, stage_setting(backbone, options.tower, block))
        if options.tower == "text" and stage.context_kind == "text":
            problem = (
                "a stage of the text tower cannot attend to the text context, which is made of that tower's tokens"
            )
            raise UserError(problem, where=f"stages.{name}", fix="put it into the vision tower")
        sites.place(name, options.tower, block, stage, str(chosen.component.plugin))


def _check_levels(levels: tuple[int, ...], depth: int, one_block_more: bool) -> None:
    bad = [level for level in levels if not 1 <= level <= depth]
    if bad or list(levels) != sorted(set(levels)):
        problem = f"{list(levels)} are no levels of a vision tower of {depth} blocks"
        raise UserError(problem, where="model.levels", fix=f"give ascending numbers between 1 and {depth}")
    if one_block_more and levels[0] == depth:
        problem = f"there is no block after level {depth}, from which switches.trained_context takes the image context"
        raise UserError(problem, where="model.levels", fix="give a first level below the last block")


def check_conditioning(experiment: Experiment, sites: Sites) -> None:
    """Text features can be conditioned on images only by a stage that attends to them. Raises `UserError`."""
    conditions = any(stage.context_kind == "image" for _, _, stage in sites.of("text"))
    if experiment.file.evaluation.text_conditioning == "image" and not conditions:
        problem = "no stage of the text tower attends to the image"
        fix = 'set it to "none", or add a stage such as text_to_image'
        raise UserError(problem, where="evaluation.text_conditioning", fix=fix)


def _build_losses(group: dict[str, Chosen]) -> WeightedLosses:
    built: dict[str, tuple[Loss, float]] = {}
    for name, chosen in group.items():
        built[name] = (chosen.component.build(chosen.options), chosen.weight)
    return WeightedLosses(built, {name: str(chosen.component.plugin) for name, chosen in group.items()})


def _check_losses(group: WeightedLosses, tower: TowerName) -> None:
    where = f"losses.{tower}"
    for name, (loss, _) in group.losses.items():
        if unmade := sorted(set(loss.needs) - MADE[tower]):
            problem = f"needs {', '.join(unmade)}, which the {tower} phase does not make"
            raise UserError(problem, where=f"{where}.{name}", fix=f"it makes {', '.join(sorted(MADE[tower]))}")
    if not group.needs & TRAINED[tower]:
        problem = f"no loss here depends on what the {tower} phase trains"
        fix = f'add one that needs {" or ".join(sorted(TRAINED[tower]))}, such as use = "segmentation"'
        raise UserError(problem, where=where, fix=fix)


def _initialise(detector: Detector, experiment: Experiment) -> tuple[Metadata, tuple[str, ...]] | None:
    """Load the [init] checkpoint, if there is one; what it says of itself, and the stages that it lacks."""
    path = experiment.file.init.checkpoint
    if path is None:
        return None
    try:
        checkpoint = checkpoint_in(path) if path.is_dir() else path
        return read_metadata(checkpoint), tuple(load_into(detector, checkpoint))
    except UserError:
        if experiment.switches.checkpoint_mismatch == "ignore":
            return None
        raise


def _with_levels(experiment: Experiment, levels: tuple[int, ...]) -> Experiment:
    """The experiment with the levels that it came to, so that its resolved copy names them."""
    model = experiment.file.model.model_copy(update={"levels": levels})
    return replace(experiment, file=experiment.file.model_copy(update={"model": model}))
