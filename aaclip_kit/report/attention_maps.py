"""Where each stage looks: its attention over the patches of an image, or over the words of the prompts."""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..contracts.backbone import Backbone
from ..contracts.options import TOWERS, TowerName
from ..contracts.stage import AttentionStage, Context, ShowsAttention
from ..model.anomaly_model import AnomalyModel
from ..model.image_tower import Untouched

START, END, PADDING = "(start)", "(end)", "(padding)"


def prompt_words(backbone: Backbone, prompt: str, length: int) -> list[str | None]:
    """The word at each of the first `length` token positions: START and END mark both ends, None what lies after.

    A word's tokens are those by which the prompt grows when the word is added, so a tokenizer that cuts words into
    pieces is followed exactly, and one that joins words gives the pair to the second.
    """
    pieces = list(re.finditer(r"\w+|[^\w\s]", prompt))
    prefixes = ["", *(prompt[: piece.end()] for piece in pieces)]
    ends = backbone.end_of_text(backbone.tokenize(prefixes)).tolist()
    words: list[str | None] = [START] * ends[0]
    for piece, end in zip(pieces, ends[1:], strict=True):
        words += [piece.group()] * (end - len(words))
    words.append(END)
    return (words + [None] * length)[:length]


Place = tuple[AttentionStage, int | None]
"""A stage, and its site where one module acts at several."""

Calls = dict[Place, list[tuple[Tensor, Context]]]
Groups = dict[str, Float[Tensor, " M"]]
"""What a group of queries looks at: the weight of each context token, 1 being an even share."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A test image as the model sees it, its number among the examples of the run, and its mask."""

    example: int
    image: Float[Tensor, "1 3 S S"]
    class_name: str
    real_name: str
    mask: Bool[np.ndarray, "S S"]


@torch.no_grad()
def attention_record(model: AnomalyModel, shown: Iterable[Shown], attending: Set[TowerName]) -> dict[str, Any]:
    """What `attention.json` holds: where each stage with a context looks on each image, or why that is not known.

    `attending` names the towers whose stages with a context acted when they last trained. A text stage is shown with
    the context that it has where the text is conditioned on the image, whether or not scoring does that.
    """
    entries: list[tuple[dict[str, Any], AttentionStage]] = [
        ({"stage": name, "block": block, "tower": tower, "context": stage.context_kind, "cases": [],
          "reason": _reason(stage, tower, attending)}, stage)
        for tower in TOWERS for block, name, stage in model.slots.of(tower) if stage.context_kind != "none"
    ]  # fmt: skip
    for picture in shown if any(entry["reason"] is None for entry, _ in entries) else ():
        calls = _calls(model, picture, attending)
        for entry, stage in entries:
            if entry["reason"] is None:
                _add(entry, model, picture, stage=stage, calls=calls)
    return {"stages": [entry for entry, _ in entries]}


def _reason(stage: AttentionStage, tower: TowerName, attending: Set[TowerName]) -> str | None:
    if tower not in attending:
        return f"the attention of the {tower} tower was off when it last trained"
    if stage.context_kind == "class":
        return "its context is one token, the class embedding of the image"
    return None if isinstance(stage, ShowsAttention) else "it does not say where it looks (no attention_weights)"


def _add(entry: dict[str, Any], model: AnomalyModel, picture: Shown, *, stage: AttentionStage, calls: Calls) -> None:
    assert isinstance(stage, ShowsAttention)
    place = (stage, entry["block"] if stage.one_for_all_sites else None)
    if place not in calls:
        entry["reason"] = "it was never called, as no stage behind the last level is"
        return
    try:
        groups_of = _text_groups if entry["tower"] == "text" else _vision_groups
        groups = groups_of(model, picture, place, calls[place])
        describe = _grid if stage.context_kind == "image" else _words
        looks = {name: describe(model, picture, weights) for name, weights in groups.items()}
    # A picture is not worth a run: whatever a plugin's method does wrong stands in the report instead.
    except Exception as error:
        entry["reason"] = f"its attention_weights could not be used: {type(error).__name__}: {error}"
        entry["cases"] = []
    else:
        entry["cases"].append({"case": picture.example, "looks": looks})


def _calls(model: AnomalyModel, picture: Shown, attending: Set[TowerName]) -> Calls:
    """What each stage is given: those of the vision tower while the image is scored, then those of the text tower."""
    classes = (picture.class_name,)
    with _watched(model, "vision") as calls:
        model.image_features(picture.image, classes, "vision" in attending)
    context = model.text_phase_inputs(picture.image, classes, True, attending)[1]
    with _watched(model, "text") as more:
        if model.text is not None:
            embedding = Untouched(model.image, picture.image).embedding() if model.text.goes_by_image else None
            model.text_features(classes, context, embedding=embedding)
    return {**calls, **more}


@contextmanager
def _watched(model: AnomalyModel, tower: TowerName) -> Iterator[Calls]:
    calls: Calls = {}

    def keep(stage: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.setdefault((stage, named.get("site")), []).append(inputs)

    with ExitStack() as hooks:
        for stage in {stage for _, _, stage in model.slots.of(tower) if stage.context_kind != "none"}:
            hooks.enter_context(stage.register_forward_pre_hook(keep, with_kwargs=True))
        yield calls


def _text_groups(model: AnomalyModel, picture: Shown, place: Place, calls: list[tuple[Tensor, Context]]) -> Groups:
    """End-of-text tokens of the normal prompts, and of the abnormal ones."""
    weights = torch.cat([_relative(place, *call) for call in calls])
    assert model.text is not None
    ends, normal = model.text.book.ends[model.text.book.rows[picture.class_name]], model.text.prompts.normal_prompts
    looks = weights[torch.arange(len(ends)), ends]
    return {
        "normal prompts": looks[:normal].mean(dim=0),
        "abnormal prompts": looks[normal:].mean(dim=0),
    }


def _vision_groups(model: AnomalyModel, picture: Shown, place: Place, calls: list[tuple[Tensor, Context]]) -> Groups:
    """Patches of which the mask covers some, and the others; all together where the mask is empty or full."""
    ((tokens, context),) = calls
    first = model.backbone.prefix_tokens
    weights = _relative(place, tokens, context)[0, first : first + model.backbone.grid**2]
    pixels = torch.from_numpy(picture.mask).float()[None, None]
    inside = torch.nn.functional.adaptive_max_pool2d(pixels, model.backbone.grid).flatten().to(weights.device) > 0
    if inside.all() or not inside.any():
        return {"all patches": weights.mean(dim=0)}
    return {"anomalous patches": weights[inside].mean(dim=0), "other patches": weights[~inside].mean(dim=0)}


def _relative(place: Place, tokens: Tensor, context: Context) -> Float[Tensor, "items L M"]:
    """Mean over the heads, as a multiple of an even share of what may be attended to."""
    stage: Any = place[0]
    weights = stage.attention_weights(tokens, context, **({} if place[1] is None else {"site": place[1]}))
    expected = (len(tokens), weights.shape[1], tokens.shape[1], context.tokens.shape[1])
    if weights.shape != expected:
        raise ValueError(f"shape {list(weights.shape)} in place of [items, heads, L, M] = {list(expected)}")
    if not weights.isfinite().all():
        raise ValueError("not all weights are finite")
    mask = context.expanded(len(tokens)).mask
    count = context.tokens.shape[1] if mask is None else mask.sum(dim=1)[:, None, None]
    return weights.float().mean(dim=1) * count


def _grid(model: AnomalyModel, picture: Shown, weights: Float[Tensor, " N"]) -> dict[str, Any]:
    side = model.backbone.grid
    return {"grid": [[round(value, 4) for value in row] for row in weights.reshape(side, side).tolist()]}


def _words(model: AnomalyModel, picture: Shown, weights: Float[Tensor, " M"]) -> dict[str, Any]:
    """The mean over the tokens of each word, whatever prompt they stand in, and over those of each state."""
    text = model.text
    assert text is not None
    prompts, normal = text.book.texts[text.book.rows[picture.class_name]], text.prompts.normal_prompts
    rows = weights.reshape(len(prompts), -1).cpu()
    words: dict[str, list[float]] = {}
    states: Mapping[str, list[float]] = {"normal prompts": [], "abnormal prompts": []}
    for number, (prompt, row) in enumerate(zip(prompts, rows.tolist(), strict=True)):
        state = states["normal prompts" if number < normal else "abnormal prompts"]
        for word, weight in zip(prompt_words(model.backbone, prompt, len(row)), row, strict=True):
            # Padding that is masked has no weight, and is no word.
            if word is not None or weight > 0:
                words.setdefault(word.lower() if word else PADDING, []).append(weight)
                state.append(weight)
    return {kind: {name: round(float(np.mean(of)), 4) for name, of in groups.items()}
            for kind, groups in (("words", words), ("states", states))}  # fmt: skip
