"""Cross-attention stages in other settings, with the same weights, for measurements."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import torch
from pydantic import ValidationError

from ..contracts.errors import UserError, UserErrors
from ..contracts.options import TOWERS, StageOptions, TowerName
from ..contracts.stage import AttentionStage
from ..distributed.random_streams import drawn_for
from ..experiment import ComponentConfig
from ..experiment.faults import explain
from ..experiment.schema import TextContextForm
from ..model.build import stage_setting
from ..model.text_tower import TextSide
from ..run.assemble import Run

Places = dict[tuple[str, int], AttentionStage | None]
"""What stands at the places (name, block) of a tower's cross-attention stages; None where one is off."""


@dataclass(frozen=True)
class Setting:
    """How stages are set. None: as each has it in the file, or without meaning for them."""

    scale: float | None
    norm_matched: bool | None
    text_context: TextContextForm | None


@dataclass(frozen=True)
class Subject:
    """Cross-attention stages of a tower that are on together, the others off; `own` is the file's setting of them."""

    tower: TowerName
    stages: tuple[str, ...]
    own: Setting
    settings: tuple[Setting, ...]
    """All that are to be measured, `own` among them."""


def subjects_of(run: Run, scales: Sequence[float]) -> list[Subject]:
    """List what can be measured: for each tower with adapters, its cross-attention stages together and each of several.

    Raises `UserError` where there is nothing, and for a scale that a stage does not take.
    """
    subjects: list[Subject] = []
    for tower in TOWERS:
        kinds = {name: stage.context_kind for _, name, stage in run.model.slots.of(tower)}
        attending = tuple(name for name, kind in kinds.items() if kind != "none")
        if not attending or len(attending) == len(kinds):
            continue
        groups = [attending, *((name,) for name in attending if len(attending) > 1)]
        for group in groups:
            reads_text = "text" in {kinds[name] for name in group}
            subjects.append(_subject(run, tower, group, reads_text=reads_text, scales=scales))
    if not subjects:
        problem = "no tower has a cross-attention stage and an adapter, so there is nothing to measure"
        fix = "give stages such as those of experiments/feedback.toml: text_to_image or image_to_text, and adapters"
        raise UserError(problem, where="stages", fix=fix)
    return subjects


def unvaried(run: Run, subject: Subject) -> list[str]:
    """Name, of `scale` and `norm_matched`, what a stage of the subject has no option for, as NAME.OPTION."""
    return [
        f"{name}.{option}"
        for name in subject.stages
        for option in ("scale", "norm_matched")
        if option not in type(run.experiment.stages[name].options).model_fields
    ]


def all_off(run: Run, tower: TowerName) -> Places:
    """Return places of a tower in which no cross-attention stage acts."""
    return {(name, block): None for block, name, stage in run.model.slots.of(tower) if stage.context_kind != "none"}


def variant(run: Run, subject: Subject, setting: Setting) -> Places:
    """Return the subject's stages, built anew in a setting around the very weights that they have; the others off."""
    return all_off(run, subject.tower) | {
        (name, block): _rebuilt(run, stage, setting, name=name, block=block)
        for block, name, stage in run.model.slots.of(subject.tower)
        if name in subject.stages
    }


@contextmanager
def standing_in(run: Run, tower: TowerName, places: Places, form: TextContextForm | None) -> Iterator[None]:
    """Put, for a while, these stages in the tower, and the text context in this form (None: as the file has it)."""
    with run.model.slots.standing_in(tower, places), _context_form(run.model.text, form):
        yield


@contextmanager
def _context_form(text: TextSide | None, form: TextContextForm | None) -> Iterator[None]:
    if text is None or form is None:
        yield
        return
    own, text.context_form = text.context_form, form
    try:
        yield
    finally:
        text.context_form = own


def _subject(
    run: Run, tower: TowerName, names: tuple[str, ...], *, reads_text: bool, scales: Sequence[float]
) -> Subject:
    chosen = [run.experiment.stages[name] for name in names]
    own_form = run.experiment.file.model.text_context if reads_text else None
    own = Setting(_common(chosen, "scale"), _common(chosen, "norm_matched"), own_form)
    forms: tuple[TextContextForm | None, ...] = ("unit", "raw") if reads_text else (None,)
    matched: tuple[bool | None, ...] = (True, False) if _any_has(chosen, "norm_matched") else (None,)
    scaled: Sequence[float | None] = scales if _any_has(chosen, "scale") else (None,)
    grid = (Setting(scale, norm_matched, form) for norm_matched, form, scale in product(matched, forms, scaled))
    # Several stages that differ have no common value; then the grid need not hold the file's own setting.
    settings = tuple(dict.fromkeys([*grid, own]))
    for setting in settings:
        for name, one in zip(names, chosen, strict=True):
            _options(one, setting, name)
    return Subject(tower, names, own, settings)


def _any_has(chosen: Sequence[ComponentConfig], option: str) -> bool:
    return any(option in type(one.options).model_fields for one in chosen)


def _common(chosen: Sequence[ComponentConfig], option: str) -> Any:
    """The value that all of them have; None where they differ or have no such option."""
    values = {getattr(one.options, option, None) for one in chosen}
    return values.pop() if len(values) == 1 else None


def _options(chosen: ComponentConfig, setting: Setting, name: str) -> StageOptions:
    wanted = {"scale": setting.scale, "norm_matched": setting.norm_matched}
    model = cast(type[StageOptions], type(chosen.options))
    changes = {key: value for key, value in wanted.items() if value is not None and key in model.model_fields}
    try:
        return model.model_validate({**chosen.options.model_dump(), **changes})
    except ValidationError as error:
        raise UserErrors(explain(error, model, "--scales", f"stages.{name}")) from None


def _rebuilt(run: Run, stage: AttentionStage, setting: Setting, *, name: str, block: int) -> AttentionStage:
    """The stage in a setting, with its own weights but for those whose first value the setting changes."""
    chosen, streams = run.experiment.stages[name], (run.experiment.file.seed, "stage", name, block)
    options = _options(chosen, setting, name)
    site = stage_setting(run.model.backbone, options.tower, block)
    with drawn_for(*streams):
        built: AttentionStage = chosen.component.build(options, site)
    with drawn_for(*streams):
        first = chosen.component.build(chosen.options, site).state_dict()
    same = {key for key, value in built.state_dict().items() if torch.equal(value, first[key])}
    weights = {key: value for key, value in stage.state_dict(keep_vars=True).items() if key in same}
    built.load_state_dict(weights, strict=False, assign=True)
    return built.to(run.compute_device.device).train(stage.training)
