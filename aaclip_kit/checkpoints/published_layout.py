"""Published checkpoints: which of their tensors is which of ours (docs/guide/checkpoints.md)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..contracts.errors import UserError
from ..contracts.options import TowerName
from ..contracts.stage import ContextKind
from ..experiment import Experiment
from ..model.anomaly_model import AnomalyModel
from ..model.build import build_model
from .checkpoint import check_fit, check_numbers, wanted_by

_ADAPTER = frozenset({"linear.weight"})
_ATTENTION = frozenset(f"{layer}_proj.{kind}" for layer in ("q", "k", "v", "out") for kind in ("weight", "bias"))


@dataclass(frozen=True)
class Part:
    """A module of the published code, and how to know the stage that stands for it here."""

    tower: TowerName
    context_kind: ContextKind
    parameters: frozenset[str]


PARTS = {
    "text_adapter": Part("text", "none", _ADAPTER),
    "image_adapter": Part("vision", "none", _ADAPTER),
    "text_cross_attn": Part("text", "image", _ATTENTION),
    "image_cross_attn": Part("vision", "text", _ATTENTION),
}
"""By the name that a part has in published files. The adapters' parts hold the projections too."""

ALWAYS = ("text_adapter", "image_adapter")
"""Parts that every published checkpoint has. The others belong to the methods with cross-attention."""


def model_without_weights(experiment: Experiment) -> AnomalyModel:
    """The experiment's model as names and shapes alone: neither weights nor data are read."""
    chosen = experiment.backbone
    if "pretrained" in type(chosen.options).model_fields:
        chosen = replace(chosen, options=chosen.options.model_copy(update={"pretrained": "none"}))
    with torch.device("meta"):
        return build_model(replace(experiment, backbone=chosen), {"object": "object"})


def published_names(model: AnomalyModel, parts: Iterable[str] = PARTS) -> dict[str, str]:
    """The published name, `PART.KEY`, of our tensors, by our name. A part that no stage stands for is left out.

    Raises `UserError` where two stages could stand for a part, or one acts after other blocks than the published one.
    """
    names: dict[str, str] = {}
    for part in parts:
        stage, blocks = _stage_for(model, part)
        if part in ALWAYS:
            inside = "layer_adapters." if part == "image_adapter" else ""
            for block in range(blocks):
                names[f"sites.stages.{stage}.{block}.linear.weight"] = f"{part}.{inside}{block}.fc.0.weight"
            names.update(_text_head(blocks) if part == "text_adapter" else _vision_heads(model))
        elif blocks:
            names.update({f"sites.stages.{stage}.0.{key}": f"{part}.{key}" for key in sorted(_ATTENTION)})
    return names


def to_ours(published: Mapping[str, Tensor], model: AnomalyModel, where: str) -> dict[str, Tensor]:
    """A checkpoint of ours from published tensors by `PART.KEY`.

    Raises `UserError` unless the adapters' parts are there, every tensor lands, and none of a part that is there lacks.
    """
    present = [part for part in PARTS if any(_part_of(name) == part for name in published)]
    if absent := [part for part in ALWAYS if part not in present]:
        fix = "give the files of one checkpoint together: text_adapter.pth and image_adapter_N.pth, or loop_N_final.pth"
        raise UserError(f"{' and '.join(absent)} is missing", where=where, fix=fix)
    names = published_names(model, present)
    parameters, _ = wanted_by(model, names)
    fix = "name the experiment that has the backbone, levels and stages of the published run"
    check_fit(published, {names[name]: parameters[name] for name in names}, where, fix)
    check_numbers(published, where)
    return {name: published[names[name]] for name in names}


def to_published(state: Mapping[str, Tensor], model: AnomalyModel, where: str) -> dict[str, Tensor]:
    """Published tensors by `PART.KEY`, from a checkpoint of ours.

    Raises `UserError` where it does not fit the experiment, or holds what published checkpoints have no place for.
    """
    wanted, _ = wanted_by(model, state)
    check_fit(state, wanted, where, "name the experiment that the checkpoint was trained with")
    names = published_names(model)
    if homeless := sorted(state.keys() - names.keys()):
        problem = f"{homeless[0]} has no place in a published checkpoint (tensors without one: {len(homeless)})"
        fix = "published checkpoints hold residual adapters, projections and the two cross-attention stages alone"
        raise UserError(problem, where=where, fix=fix)
    present = {_part_of(names[name]) for name in state}
    if lacking := [name for name, other in names.items() if _part_of(other) in present and name not in state]:
        problem = f"{lacking[0]} is missing, without which {_part_of(names[lacking[0]])} is not whole"
        raise UserError(problem, where=where, fix="name the experiment that the checkpoint was trained with")
    return {names[name]: value for name, value in state.items()}


def attending_towers(parts: Iterable[str]) -> tuple[TowerName, ...]:
    """Towers whose cross-attention is among the parts, and so was trained."""
    return tuple(sorted({PARTS[part].tower for part in parts if part not in ALWAYS}))


def _stage_for(model: AnomalyModel, part: str) -> tuple[str | None, int]:
    """Name and number of blocks of the stage that stands for a part; the blocks are 0, 1, ..."""
    wanted = PARTS[part]
    found: dict[str, list[int]] = {}
    for block, name, stage in model.slots.of(wanted.tower):
        if (
            stage.context_kind == wanted.context_kind
            and {key for key, _ in stage.named_parameters()} == wanted.parameters
        ):
            found.setdefault(name, []).append(block)
    if not found:
        return None, 0
    if len(found) > 1:
        problem = f"each of these could be the published {part}, of which there is one"
        where = ", ".join(f"stages.{name}" for name in sorted(found))
        raise UserError(problem, where=where, fix="name an experiment with one of them")
    ((name, blocks),) = found.items()
    published = range(len(blocks)) if part in ALWAYS else range(1)
    if sorted(blocks) != list(published):
        first = "blocks 0, 1 and so on, none left out" if part in ALWAYS else "block 0 alone"
        problem = f"{sorted(blocks)} are not the blocks of the published {part}, which acts after {first}"
        raise UserError(problem, where=f"stages.{name}.after", fix="name the experiment of the published run")
    return name, len(blocks)


def _text_head(adapters: int) -> dict[str, str]:
    return {"heads.text.linear.weight": f"text_adapter.{adapters}.fc.0.weight"}


def _vision_heads(model: AnomalyModel) -> dict[str, str]:
    # The published projection is a list of layers where it has an activation, and the layer itself where not.
    key = "fc.0.weight" if model.heads.detection.activation else "fc.weight"
    names = {
        f"heads.segmentation.{level}.linear.weight": f"image_adapter.seg_proj.{number}.{key}"
        for number, level in enumerate(model.levels)
    }
    return {**names, "heads.detection.linear.weight": f"image_adapter.det_proj.{key}"}


def _part_of(name: str) -> str:
    return name.partition(".")[0]
