"""Where stages look on a test image: against weights taken by hand, and with stages that do not or cannot say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aaclip_kit import AttentionStage, Context, TowerName
from aaclip_kit.report.attention_maps import Shown, attention_record, prompt_words
from aaclip_kit.run.assemble import Run

from ..build import build, text_of
from ..helpers import assert_close
from .given import CLASS, shown

BOTH: frozenset[TowerName] = frozenset({"text", "vision"})
REAL = "green wood"


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment)


def record(run: Run, picture: Shown | None = None, attending: Any = BOTH) -> dict[str, dict[str, Any]]:
    """What each stage looks at, by stage; it must be plain JSON."""
    found = attention_record(run.model, [picture or shown(run)], attending)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return {entry["stage"]: entry for entry in found["stages"]}


def stage(run: Run, name: str) -> Any:
    blocks = run.model.slots.stages[name]
    assert isinstance(blocks, nn.ModuleDict)
    return blocks["0"]


@torch.no_grad()
def test_text_looks_at_patches_from_its_end_of_text_tokens(run: Run) -> None:
    model, picture = run.model, shown(run)
    context = model.text_phase_inputs(picture.image, (CLASS,), True, BOTH)[1]
    assert context is not None
    text = text_of(model)
    tokens, ends = text.book.select((CLASS,), context.device)
    walked = model.backbone.text_block(0, model.backbone.embed_text(tokens[0]))
    weights = stage(run, "text_to_image").attention_weights(walked, Context(context)).mean(dim=1)
    by_prompt = weights[torch.arange(16), ends[0]].reshape(16, 4, 4) * 16
    entry = record(run, picture)["text_to_image"]
    assert {key: entry[key] for key in ("block", "tower", "context", "reason")} == {
        "block": 0, "tower": "text", "context": "image", "reason": None,
    }  # fmt: skip
    (case,) = entry["cases"]
    assert case["case"] == 7
    assert list(case["looks"]) == ["normal prompts", "abnormal prompts"]
    normal = text.prompts.normal_prompts
    parts = (by_prompt[:normal], by_prompt[normal:])
    for look, part in zip(case["looks"].values(), parts, strict=True):
        assert_close(torch.tensor(look["grid"]), part.mean(dim=0), rtol=0, atol=1e-4)  # written with 4 decimals
        assert_close(float(np.mean(look["grid"])), 1.0, atol=1e-4)


@torch.no_grad()
def test_patches_look_at_words_and_those_of_the_defect_are_told_apart(run: Run) -> None:
    model, picture = run.model, shown(run)
    tokens = model.backbone.vision_block(0, model.backbone.embed_image(picture.image))
    context = model.text_contexts((CLASS,), True)["text"]
    assert context.mask is not None
    weights = stage(run, "image_to_text").attention_weights(tokens, context).mean(dim=1)[0] * context.mask.sum()
    text = text_of(model)
    prompts = text.prompts.prompts(REAL)
    words = [word for prompt in prompts for word in prompt_words(model.backbone, prompt, weights.shape[1] // 16)]
    looks = record(run, picture)["image_to_text"]["cases"][0]["looks"]
    assert list(looks) == ["anomalous patches", "other patches"]
    for look, rows in ((looks["anomalous patches"], weights[1:2]), (looks["other patches"], weights[2:])):
        seen = rows.mean(dim=0)
        for word in ("wood", "damaged", "(start)", "(end)", "."):
            at = [place for place, found in enumerate(words) if found == word]
            assert_close(look["words"][word], float(seen[at].mean()), rtol=0, atol=1e-4)
        assert set(look["words"]) == {word for word in words if word}
        # Of each prompt, the tokens that may be attended to: those of its words, marks and ends.
        read = np.array([word is not None for word in words])
        normal = np.arange(len(words)) < text.prompts.normal_prompts * (weights.shape[1] // 16)
        for state, part in (("normal prompts", read & normal), ("abnormal prompts", read & ~normal)):
            assert_close(look["states"][state], float(seen[torch.from_numpy(part)].mean()), rtol=0, atol=1e-4)
        assert_close(float(seen.sum()) / int(read.sum()), 1.0, atol=1e-4)


def test_without_a_defect_all_patches_are_one_group(run: Run) -> None:
    for corner in (0, run.pixels.size):
        looks = record(run, shown(run, corner))["image_to_text"]["cases"][0]["looks"]
        assert list(looks) == ["all patches"]


def test_padding_that_is_attended_to_is_named(small_experiment: Path) -> None:
    run = build(small_experiment, "switches.text_context_padding=attended")
    assert "(padding)" in record(run)["image_to_text"]["cases"][0]["looks"]["other patches"]["words"]


def test_the_published_pairing_of_prompts_with_the_batch_is_shown_too(small_experiment: Path) -> None:
    run = build(small_experiment, "switches.image_context=batch_mean")
    own = record(build(small_experiment))["text_to_image"]["cases"][0]["looks"]
    assert record(run)["text_to_image"]["cases"][0]["looks"] == own, "the mean over one image is that image"


def test_a_tower_that_trained_without_attention_is_left_out(run: Run) -> None:
    found = record(run, attending=frozenset({"vision"}))
    assert found["text_to_image"]["cases"] == []
    assert found["text_to_image"]["reason"] == "the attention of the text tower was off when it last trained"
    assert found["image_to_text"]["cases"]


class Silent(AttentionStage):
    context_kind = "text"

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return tokens


def test_a_stage_without_the_method_is_left_out(run: Run) -> None:
    with run.model.slots.standing_in("vision", {("image_to_text", 0): Silent()}):
        found = record(run)["image_to_text"]
    assert found["reason"] == "it does not say where it looks (no attention_weights)"
    assert found["cases"] == []


def test_a_stage_behind_the_last_level_was_never_called(small_experiment: Path) -> None:
    found = record(build(small_experiment, "model.levels=[2, 4]", "stages.image_to_text.after=[6]"))["image_to_text"]
    assert found["reason"] == "it was never called, as no stage behind the last level is"
    assert found["cases"] == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda tokens, context: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda tokens, context: torch.ones(1, 2, 3, 4), r"ValueError: shape \[1, 2, 3, 4\] in place of"),
        (
            lambda tokens, context: torch.full((1, 2, tokens.shape[1], context.tokens.shape[1]), torch.nan),
            "ValueError: not all weights are finite",
        ),
    ],
)
def test_a_method_that_fails_costs_its_picture_and_not_the_run(run: Run, wrong: Any, words: str) -> None:
    stage(run, "image_to_text").attention_weights = wrong
    found = record(run)
    assert re.search(words, found["image_to_text"]["reason"])
    assert found["image_to_text"]["cases"] == []
    assert found["text_to_image"]["cases"]


def test_nothing_is_left_behind_on_the_stages(run: Run) -> None:
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    record(run)
    for name in ("text_to_image", "image_to_text"):
        assert not stage(run, name)._forward_pre_hooks
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
