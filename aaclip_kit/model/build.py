"""From a checked experiment to a model: backbone, stages at their blocks, heads, prompts."""

from collections.abc import Mapping
from typing import cast

from ..contracts.backbone import Backbone, text_tower
from ..contracts.errors import UserError
from ..contracts.options import StageOptions, TowerName
from ..contracts.stage import AttentionStage, StageSetting
from ..distributed.random_streams import drawn_for
from ..experiment import ComponentConfig, Experiment
from .anomaly_model import AnomalyModel
from .heads import Heads
from .prompts import PromptBook
from .stage_slots import StageSlots


def build_model(experiment: Experiment, real_names: Mapping[str, str]) -> AnomalyModel:
    """Backbone, stages and heads. First weights depend on the seed and on each module's own name alone."""
    chosen, seed = experiment.backbone, experiment.file.seed
    with drawn_for(seed, "backbone"):
        backbone: Backbone = chosen.component.build(chosen.options)
    check_text(backbone)
    table = experiment.file.model
    levels = table.levels or default_levels(backbone.vision.depth)
    _check_levels(levels, backbone.vision.depth, experiment.switches.trained_context == "one_block_more")
    slots = StageSlots()
    slots.fused = experiment.file.compute.fused_residual == "on"
    for name, stage in experiment.stages.items():
        _place(slots, name, stage, backbone, seed)
    heads = Heads(backbone, levels, table.projection_activation, seed, table.projections == "backbone")
    prompts = PromptBook.of(backbone, real_names)
    return AnomalyModel(backbone, slots, heads, levels, prompts, experiment.switches, table.text_context)


def check_text(backbone: Backbone) -> None:
    """Prompts and heads of every model need text. Raises `UserError` for a backbone that has no text tower."""
    text_tower(backbone)


def default_levels(depth: int) -> tuple[int, ...]:
    """The four quarters of the depth: 6, 12, 18, 24 of 24 blocks."""
    return tuple(sorted({round(depth * quarter / 4) for quarter in (1, 2, 3, 4)} - {0}))


def stage_setting(backbone: Backbone, tower: TowerName, block: int) -> StageSetting:
    """What the factory of a stage after `block` is told."""
    text, vision = text_tower(backbone).width, backbone.vision.width
    width = text if tower == "text" else vision
    return StageSetting(
        tower=tower, after=block, width=width, text_width=text, vision_width=vision,
        image_context_width=backbone.embedding_width,
    )  # fmt: skip


def _place(slots: StageSlots, name: str, chosen: ComponentConfig, backbone: Backbone, seed: int) -> None:
    options = cast(StageOptions, chosen.options)
    if len(set(options.after)) < len(options.after):
        problem = f"{list(options.after)} names a block twice"
        raise UserError(problem, where=f"stages.{name}.after", fix="name each block once; a second stage can share it")
    tower = text_tower(backbone) if options.tower == "text" else backbone.vision
    for block in options.after:
        if block >= tower.depth:
            problem = f"there is no block {block}: the {options.tower} tower has blocks 0 to {tower.depth - 1}"
            raise UserError(problem, where=f"stages.{name}.after", fix="name blocks that the backbone has")
        with drawn_for(seed, "stage", name, block):
            stage: AttentionStage = chosen.component.build(options, stage_setting(backbone, options.tower, block))
        if options.tower == "text" and stage.context_kind == "text":
            problem = (
                "a stage of the text tower cannot attend to the text context, which is made of that tower's tokens"
            )
            raise UserError(problem, where=f"stages.{name}", fix="put it into the vision tower")
        slots.place(name, options.tower, block, stage, str(chosen.component.plugin))


def _check_levels(levels: tuple[int, ...], depth: int, one_block_more: bool) -> None:
    bad = [level for level in levels if not 1 <= level <= depth]
    if bad or list(levels) != sorted(set(levels)):
        problem = f"{list(levels)} are no levels of a vision tower of {depth} blocks"
        raise UserError(problem, where="model.levels", fix=f"give ascending numbers between 1 and {depth}")
    if one_block_more and levels[0] == depth:
        problem = f"there is no block after level {depth}, from which switches.trained_context takes the image context"
        raise UserError(problem, where="model.levels", fix="give a first level below the last block")


def check_conditioning(experiment: Experiment, slots: StageSlots) -> None:
    """Text features can be conditioned on images only by a stage that attends to them. Raises `UserError`."""
    conditions = any(stage.context_kind == "image" for _, _, stage in slots.of("text"))
    if experiment.file.evaluation.text_conditioning == "image" and not conditions:
        problem = "no stage of the text tower attends to the image"
        fix = 'set it to "none", or add a stage such as text_to_image'
        raise UserError(problem, where="evaluation.text_conditioning", fix=fix)
