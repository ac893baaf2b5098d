"""From a checked experiment to a model: backbone, stages at their blocks, prompts, head."""

from collections.abc import Mapping
from functools import partial
from typing import cast

from ..contracts.backbone import Backbone
from ..contracts.errors import UserError, head_without_text, stage_without_text
from ..contracts.head import Head, HeadSetting
from ..contracts.options import TOWERS, StageOptions, TowerName
from ..contracts.prompts import Prompts, PromptSetting
from ..contracts.reference import Reference, ReferenceSetting
from ..contracts.stage import AttentionStage, StageSetting
from ..distributed.random_streams import drawn_for
from ..experiment import ComponentConfig, Experiment
from .anomaly_model import AnomalyModel
from .prompts import PromptBook
from .stage_slots import StageSlots
from .windows import window_patches


def build_model(experiment: Experiment, real_names: Mapping[str, str]) -> AnomalyModel:
    """Backbone, stages, prompts and head. First weights depend on the seed and each module's own name alone."""
    chosen, seed = experiment.backbone, experiment.file.seed
    with drawn_for(seed, "backbone"):
        backbone: Backbone = chosen.component.build(chosen.options)
    table = experiment.file.model
    levels = table.levels or default_levels(backbone.vision.depth)
    _check_levels(levels, backbone.vision.depth, experiment.switches.trained_context == "one_block_more")
    slots = StageSlots()
    slots.fused = experiment.file.compute.fused_residual == "on"
    for name, stage in experiment.stages.items():
        _place(slots, name, stage, backbone, seed)
    setting = HeadSetting(backbone=backbone, levels=levels, drawn=partial(drawn_for, seed, "head"))
    with drawn_for(seed, "head"):
        head: Head = experiment.head.component.build(experiment.head.options, setting)
    check_text(backbone, head, slots)
    prompts = _prompts(experiment, backbone) if head.needs_text else None
    reference = _reference(experiment, backbone, levels)
    _check_together(slots, head, backbone.grid)
    return AnomalyModel(
        backbone, slots, head, levels, experiment.switches,
        prompts=prompts, book=None if prompts is None else PromptBook.of(backbone, prompts, real_names),
        reference=reference, text_context=table.text_context,
    )  # fmt: skip


def _reference(experiment: Experiment, backbone: Backbone, levels: tuple[int, ...]) -> Reference | None:
    """The memory that the experiment names. Raises `UserError` where it reads what is not there, or would train."""
    chosen = experiment.reference
    if chosen is None:
        return None
    built: Reference = chosen.component.build(chosen.options, ReferenceSetting(backbone=backbone, levels=levels))
    _check_levels(built.levels, backbone.vision.depth, False, "reference.levels")
    for side in built.reads.windows:
        window_patches(backbone.grid, side)
    return built


def _prompts(experiment: Experiment, backbone: Backbone) -> Prompts:
    seed = experiment.file.seed
    setting = PromptSetting(backbone=backbone, drawn=partial(drawn_for, seed, "prompts"))
    with drawn_for(seed, "prompts"):
        built: Prompts = experiment.prompts.component.build(experiment.prompts.options, setting)
    return built


def _check_together(slots: StageSlots, head: Head, grid: int) -> None:
    """Raise `UserError` for parts that cannot act together."""
    for side in head.reads.windows:
        window_patches(grid, side)
    stages = {name: (tower, stage) for tower in TOWERS for _, name, stage in slots.of(tower)}
    inserting = [name for name, (_, stage) in stages.items() if stage.inserts]
    for name in inserting:
        if stages[name][0] == "text":
            fix = "let prompts change the tokens of the text tower"
            raise UserError("inserts tokens, which the text tower has no place for", where=f"stages.{name}", fix=fix)
        if head.reads.windows:
            problem = "inserts tokens, and the head reads windows of the fixed grid of patches"
            raise UserError(problem, where=f"stages.{name}", fix="leave the stage out, or choose another head")
    if len(inserting) > 1:
        problem = f"{' and '.join(inserting)} insert tokens, and one stage can"
        raise UserError(problem, where="stages", fix="leave one of them out")


def check_text(backbone: Backbone, head: Head, slots: StageSlots) -> None:
    """Raise `UserError` for a head or a stage that needs text where there is none."""
    if head.needs_text:
        if backbone.text is None:
            raise head_without_text()
        return
    for tower in TOWERS:
        for _, name, stage in slots.of(tower):
            if tower == "text" or stage.context_kind == "text":
                where, fix = f"stages.{name}", "leave the stage out, or choose a head that needs text"
                fault = UserError("needs text, and the head makes none", where=where, fix=fix)
                raise stage_without_text(where) if backbone.text is None else fault


def default_levels(depth: int) -> tuple[int, ...]:
    """The four quarters of the depth: 6, 12, 18, 24 of 24 blocks."""
    return tuple(sorted({round(depth * quarter / 4) for quarter in (1, 2, 3, 4)} - {0}))


def stage_setting(backbone: Backbone, tower: TowerName, block: int) -> StageSetting:
    """What the factory of a stage after `block` is told."""
    vision = backbone.vision.width
    text = backbone.embedding_width if backbone.text is None else backbone.text.width
    width = text if tower == "text" else vision
    return StageSetting(
        tower=tower, after=block, width=width, text_width=text, vision_width=vision,
        image_context_width=backbone.embedding_width, prefix_tokens=backbone.prefix_tokens,
    )  # fmt: skip


def _place(slots: StageSlots, name: str, chosen: ComponentConfig, backbone: Backbone, seed: int) -> None:
    options = cast(StageOptions, chosen.options)
    if len(set(options.after)) < len(options.after):
        problem = f"{list(options.after)} names a block twice"
        raise UserError(problem, where=f"stages.{name}.after", fix="name each block once; a second stage can share it")
    tower = backbone.text if options.tower == "text" else backbone.vision
    if tower is None:
        raise stage_without_text(f"stages.{name}")
    stage: AttentionStage | None = None
    for block in sorted(options.after):
        if block >= tower.depth:
            problem = f"there is no block {block}: the {options.tower} tower has blocks 0 to {tower.depth - 1}"
            raise UserError(problem, where=f"stages.{name}.after", fix="name blocks that the backbone has")
        if stage is None or not stage.one_for_all_sites:
            with drawn_for(seed, "stage", name, block):
                stage = chosen.component.build(options, stage_setting(backbone, options.tower, block))
            assert stage is not None
        if options.tower == "text" and stage.context_kind in ("text", "class"):
            made = "which is made of that tower's tokens" if stage.context_kind == "text" else "which prompts go by"
            problem = f"a stage of the text tower cannot attend to the {stage.context_kind} context, {made}"
            raise UserError(problem, where=f"stages.{name}", fix="put it into the vision tower")
        slots.place(name, options.tower, block, stage, str(chosen.component.plugin))


def _check_levels(levels: tuple[int, ...], depth: int, one_block_more: bool, where: str = "model.levels") -> None:
    bad = [level for level in levels if not 1 <= level <= depth]
    if bad or list(levels) != sorted(set(levels)):
        problem = f"{list(levels)} are no levels of a vision tower of {depth} blocks"
        raise UserError(problem, where=where, fix=f"give ascending numbers between 1 and {depth}")
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
