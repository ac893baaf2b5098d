"""Text features and text context against a loop over single prompts of all 77 tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from aaclip_kit_plugins.open_clip.backbone import OpenClipBackbone
from torch import Tensor
from torch.nn import functional

from aaclip_kit import Context
from aaclip_kit.contracts.backbone import text_tower
from aaclip_kit.run.assemble import Run

from ..build import build, contexts_for, images_for, text_of, text_projection_of
from ..helpers import assert_close

LONG_NAME = 'data.test.real_names.green_wood="green wood with a very long and winding grain"'
CLASSES = ("red_cloth", "green_wood", "green_wood", "red_cloth")


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment, LONG_NAME)


def class_prompts(run: Run, name: str) -> list[str]:
    """The words of a class."""
    assert run.model.prompts is not None
    return list(run.model.prompts.prompts(run.data.real_names[name]))


def walked_alone(run: Run, prompt: str, context: Tensor | None, blocks: int) -> tuple[Tensor, int]:
    """Tokens `[77, Dt]` of one prompt after the stages of the last of `blocks`, and its end-of-text position."""
    backbone = run.model.backbone
    tokens = backbone.tokenize([prompt])
    x = backbone.embed_text(tokens)
    for block in range(-1, blocks):
        x = backbone.text_block(block, x) if block >= 0 else x
        for at, _, stage in run.model.slots.of("text"):
            if at == block and stage.context_kind == "none":
                x = stage(x, None)
            elif at == block and context is not None:
                x = stage(x, Context(context[None]))
    return x[0], tokens[0].tolist().index(int(tokens.max()))


def naive_state(run: Run, prompts: list[str], contexts: list[Tensor | None]) -> Tensor:
    """Text feature of one state: mean of the unit prompts, unit again."""
    backbone, projection = run.model.backbone, text_projection_of(run.model)
    features = []
    for prompt, context in zip(prompts, contexts, strict=True):
        x, end = walked_alone(run, prompt, context, text_tower(backbone).depth)
        normed = backbone.finish_text(x[None], torch.tensor([end]))[0]
        feature = functional.leaky_relu(projection.weight @ normed, 0.01)
        features.append(feature / feature.norm())
    mean = torch.stack(features).mean(0)
    return mean / mean.norm()


def naive_features(run: Run, name: str, context: Tensor | None) -> Tensor:
    """`[E, 2]` of one class."""
    prompts = class_prompts(run, name)
    states = (prompts[:6], prompts[6:])
    return torch.stack([naive_state(run, state, [context] * len(state)) for state in states], -1)


def test_class_features_equal_the_naive_loop(run: Run) -> None:
    classes = ("red_cloth", "green_wood")
    found = text_of(run.model).class_features(classes)
    assert_close(found, torch.stack([naive_features(run, name, None) for name in classes]))
    assert_close(found.norm(dim=1), torch.ones(2, 2))


def test_tokens_after_the_last_end_of_text_are_cut_and_change_nothing(run: Run) -> None:
    tokens, ends = text_of(run.model).book.select(("red_cloth",), torch.device("cpu"))
    assert tokens.shape[-1] == int(ends.max()) + 1 < 77
    alone = text_of(run.model).class_features(("red_cloth",))
    assert_close(alone[0], text_of(run.model).class_features(("green_wood", "red_cloth"))[1])


def test_untrained_features_are_the_untouched_backbones(run: Run) -> None:
    backbone = run.model.backbone
    assert isinstance(backbone, OpenClipBackbone)
    tokens = backbone.tokenize(class_prompts(run, "red_cloth"))
    features = functional.normalize(backbone.clip.encode_text(tokens), dim=-1)
    states = [functional.normalize(part.mean(0), dim=0) for part in (features[:6], features[6:])]
    assert_close(text_of(run.model).untrained_features(("red_cloth",))[0], torch.stack(states, -1))


def test_own_image_context_equals_one_image_at_a_time(run: Run) -> None:
    contexts = contexts_for(run, len(CLASSES))
    found = run.model.text_features(CLASSES, contexts)
    for place, name in enumerate(CLASSES):
        assert_close(found[place], naive_features(run, name, contexts[place]))
        assert_close(found[place], run.model.text_features((name,), contexts[place : place + 1])[0])
    assert (found[1] - found[2]).abs().max() > 1e-3, "two images of a class must differ"
    plain = run.model.text_features(CLASSES, None)
    assert (found - plain).abs().max() > 1e-3
    assert_close(plain[1], plain[2])


def test_context_acts_only_from_its_own_block_on(small_experiment: Path) -> None:
    run = build(small_experiment, "stages.text_to_image.after=[2]")
    contexts = contexts_for(run, 3)
    found = run.model.text_features(("red_cloth",) * 3, contexts)
    for place in range(3):
        assert_close(found[place], naive_features(run, "red_cloth", contexts[place]))


def test_stages_may_act_before_the_first_block(small_experiment: Path) -> None:
    run = build(small_experiment, "stages.text_adapter.after=[-1, 1]", "stages.text_to_image.after=[-1]")
    contexts = contexts_for(run, 3)
    found = run.model.text_features(("red_cloth",) * 3, contexts)
    for place in range(3):
        assert_close(found[place], naive_features(run, "red_cloth", contexts[place]))
    context = text_of(run.model).text_context(("red_cloth",), padding=True).tokens[0, :77]
    x, _ = walked_alone(run, class_prompts(run, "red_cloth")[0], None, blocks=1)
    assert_close(context, functional.normalize(x, dim=-1))
    assert "sites.stages.text_adapter.-1.linear.weight" in run.model.trained_parameters("text")


@pytest.mark.parametrize("images", [1, 4])
def test_batch_mean_gives_every_image_the_mean_context(small_experiment: Path, images: int) -> None:
    run = build(small_experiment, LONG_NAME, "switches.image_context=batch_mean")
    classes = CLASSES[:images]
    contexts = contexts_for(run, images)
    found = run.model.text_features(classes, contexts)
    for place, name in enumerate(classes):
        assert_close(found[place], naive_features(run, name, contexts.mean(0)))


@pytest.mark.parametrize(("images", "paired"), [(6, 0), (10, 1)])
def test_published_quirk_pairs_prompts_with_images(small_experiment: Path, images: int, paired: int) -> None:
    """As many images as a state has prompts: prompt i sees image i alone, in that state only."""
    run = build(small_experiment, "switches.image_context=batch_mean")
    contexts = contexts_for(run, images)
    classes = ("red_cloth", "green_wood") * (images // 2)
    found = run.model.text_features(classes, contexts)
    for name in dict.fromkeys(classes):
        prompts = class_prompts(run, name)
        for state, texts in enumerate((prompts[:6], prompts[6:])):
            seen = list(contexts) if state == paired else [contexts.mean(0)] * len(texts)
            expected = naive_state(run, texts, seen)
            for place in (place for place, other in enumerate(classes) if other == name):
                assert_close(found[place, :, state], expected)


@pytest.mark.parametrize("padding", [False, True])
def test_text_context_is_the_unit_tokens_after_the_first_adapter(run: Run, padding: bool) -> None:
    classes = ("red_cloth", "green_wood")
    found = text_of(run.model).text_context(classes, padding)
    length = found.tokens.shape[1] // 16
    assert length == (77 if padding else int(text_of(run.model).book.ends.max()) + 1)
    assert (found.mask is None) == padding
    for row, name in enumerate(classes):
        for place, prompt in enumerate(class_prompts(run, name)):
            x, end = walked_alone(run, prompt, None, blocks=1)
            part = slice(place * length, (place + 1) * length)
            assert_close(found.tokens[row, part], functional.normalize(x[:length], dim=-1))
            if found.mask is not None:
                assert found.mask[row, part].tolist() == [at <= end for at in range(length)]


def test_a_raw_text_context_keeps_the_norms_and_is_what_vision_stages_attend_to(
    small_experiment: Path, run: Run
) -> None:
    raw = build(small_experiment, LONG_NAME, "model.text_context=raw")
    found, unit = (each.model.text_contexts(CLASSES, True)["text"].tokens for each in (raw, run))
    lengths = torch.linalg.vector_norm(found, dim=-1)
    assert float((lengths - 1).abs().median()) > 0.1
    assert_close(found / lengths[..., None], unit)
    images = images_for(run, 4)
    with torch.no_grad():
        one, other = (each.model.image_features(images, CLASSES, True).levels[8] for each in (raw, run))
    assert float((one - other).abs().max()) > 1e-3
    assert torch.equal(raw.model.text_features(CLASSES, None), run.model.text_features(CLASSES, None))


def test_masked_context_of_a_class_does_not_depend_on_longer_names_beside_it(run: Run) -> None:
    alone, beside = (
        text_of(run.model).text_context(names, False) for names in (("red_cloth",), ("red_cloth", "green_wood"))
    )
    assert alone.tokens.shape[1] < beside.tokens.shape[1]
    assert alone.mask is not None and beside.mask is not None
    assert_close(alone.tokens[0][alone.mask[0]], beside.tokens[0][beside.mask[0]])


def test_images_of_one_class_share_one_context_row(run: Run) -> None:
    assert run.model.text_contexts(("red_cloth",) * 5, True)["text"].tokens.shape[0] == 1
    context = run.model.text_contexts(CLASSES, True)["text"]
    assert len(context.tokens) == len(set(CLASSES)) < len(CLASSES)
    rows = context.expanded(len(CLASSES)).tokens
    assert torch.equal(rows[0], rows[3]) and torch.equal(rows[1], rows[2]) and not torch.equal(rows[0], rows[1])
    assert run.model.text_contexts(CLASSES, False) == {}
