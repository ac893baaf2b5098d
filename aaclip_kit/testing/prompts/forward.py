"""What prompts make of names, and on the way through the text tower: shapes, arguments that stay, cut tokens, bf16."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...contracts.backbone import text_tower
from ...model.stage_slots import StageSlots
from ...model.text_tower import TextSide
from ..parts import draw, is_tensor, must_agree, must_be_near_in_half, tiny_backbone
from ..subject import Breach, Subject
from . import CLASSES, NAMES, Built, alone, stirred


def makes_prompts_of_any_name(subject: Subject) -> None:
    """Three names, twice each."""
    prompts = alone(subject, tiny_backbone(subject))
    texts = {name: prompts.prompts(name) for name in NAMES.values()}
    for name, made in texts.items():
        if isinstance(made, str) or not isinstance(made, Sequence) or not all(isinstance(one, str) for one in made):
            raise Breach(f"prompts({name!r}) gave {made!r}, not a sequence of texts")
        if list(prompts.prompts(name)) != list(made):
            raise Breach(f"prompts({name!r}) gave other texts the second time")
    counts = {len(made) for made in texts.values()}
    if len(counts) > 1:
        raise Breach(f"classes have {' and '.join(map(str, sorted(counts)))} prompts: each needs as many as the others")
    normal, count = getattr(prompts, "normal_prompts", None), counts.pop()
    if not isinstance(normal, int) or not 0 < normal < count:
        raise Breach(f"its normal_prompts is {normal!r} of {count}: some are normal and some abnormal")


def keeps_the_shape(subject: Subject) -> None:
    """Each method in turn, for one class and for three, with an image of each and without one."""
    built = stirred(subject)
    with torch.no_grad():
        for classes in (CLASSES[:1], CLASSES):
            _walk(built, classes)


def _walk(built: Built, classes: tuple[str, ...]) -> None:
    prompts, backbone = built.prompts, built.backbone
    numbers, ends = built.text.book.select(classes, torch.device("cpu"))
    items, length = ends.numel(), numbers.shape[-1]
    x = prompts.embed(backbone, numbers.flatten(0, 1))
    is_tensor("embed", x, (items, length, text_tower(backbone).width))
    for block, image in _conditions(built, items):
        made = prompts.before_block(block, x, image)
        is_tensor(f"before_block({block})", made, (items, length, text_tower(backbone).width))
        x = backbone.text_block(block, made) if image is None else x
    finished = backbone.finish_text(x, ends.flatten())
    for said, projected in (
        ("project", prompts.project(backbone, finished)),
        ("project_untrained", prompts.project_untrained(backbone, finished)),
    ):
        is_tensor(said, projected, (items, backbone.embedding_width))
        combined = prompts.combine(projected.unflatten(0, ends.shape))
        is_tensor("combine", combined, (len(classes), backbone.embedding_width, 2))


def _conditions(built: Built, items: int) -> Iterator[tuple[int, Tensor | None]]:
    """Each block, with the image where the prompts go by it, and without."""
    first = built.prompts.conditioned_from
    for block in range(text_tower(built.backbone).depth):
        if first is not None and block >= first:
            yield block, built.embedding(items)
        yield block, None


def changes_nothing_in_place(subject: Subject) -> None:
    """Compare tokens and features with copies."""
    built = stirred(subject)
    prompts, backbone = built.prompts, built.backbone
    numbers, ends = built.text.book.select(CLASSES, torch.device("cpu"))
    with torch.no_grad():
        embedded = prompts.embed(backbone, numbers.flatten(0, 1))
        for block, image in _conditions(built, ends.numel()):
            given = embedded.clone()
            prompts.before_block(block, given, image)
            if not torch.equal(given, embedded):
                raise Breach(f"the tokens that before_block({block}) was given were changed")
        finished = draw(ends.numel(), text_tower(backbone).width)
        projected = prompts.project(backbone, finished).unflatten(0, ends.shape).clone()
        kept = projected.clone()
        prompts.combine(projected)
    if not torch.equal(finished, draw(ends.numel(), text_tower(backbone).width)) or not torch.equal(projected, kept):
        raise Breach("the features that project or combine was given were changed")


@torch.no_grad()
def tokens_may_be_cut(subject: Subject) -> None:
    """Cut after the last end-of-text token, and whole."""
    built = stirred(subject)
    book = replace(built.text.book, lengths=(built.backbone.context_length,) * len(NAMES))
    whole = replace(built, text=TextSide(built.backbone, StageSlots(), built.prompts, book, "unit"))
    said = "text features of all tokens, and of those up to the last end-of-text token, differ"
    must_agree(built.features(), whole.features(), said)


@torch.no_grad()
def evaluation_draws_nothing(subject: Subject) -> None:
    """Evaluate under two seeds."""
    built, found = stirred(subject), []
    for seed in (7, 8):
        torch.manual_seed(seed)
        found.append(built.features())
    must_agree(found[0], found[1], "in evaluation, results under two torch seeds differ")


@torch.no_grad()
def bf16_is_near(subject: Subject) -> None:
    """Compare autocast with float32."""
    built = stirred(subject)
    exact = built.features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = built.features()
    must_be_near_in_half(rough, exact, "a text feature")
