"""Tokens that a stage inserts into the vision tower: behind the others, through the blocks, patches for nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from aaclip_kit import AttentionStage, Context, Reads, StageSetting, Surgery, UserError
from aaclip_kit.report.attention_maps import attention_record
from aaclip_kit.run.assemble import Run

from ..build import Factory, images_for, plan_for, train, with_parts
from ..helpers import assert_close
from ..parts import TinyHead
from ..report.given import shown

CLASSES = ("red_cloth", "green_wood")
COUNT = 2


class Deep(AttentionStage):
    """Appends learnt tokens at its first site and puts others in their place at the later ones."""

    one_for_all_sites = True
    inserts = COUNT

    def __init__(self, setting: StageSetting) -> None:
        super().__init__()
        self.first = setting.after
        self.tokens = nn.Parameter(torch.linspace(-2, 2, 3 * COUNT * setting.width).reshape(3, COUNT, setting.width))

    def forward(self, tokens: Tensor, context: Context | None, site: int = -9) -> Tensor:
        own = self.tokens[site + 1].expand(len(tokens), -1, -1)
        return torch.cat([tokens if site == self.first else tokens[:, :-COUNT], own], dim=1)


class AtEachSite(AttentionStage):
    """Appends a token at each of its sites, whose modules are their own."""

    inserts = 1

    def __init__(self, setting: StageSetting) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, setting.width))

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return torch.cat([tokens, self.token.expand(len(tokens), -1, -1)], dim=1)


class Forgets(AtEachSite):
    """Says that it inserts a token and does not."""

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return tokens


def run_with(path: Path, stage: type[Deep] | type[AtEachSite], after: str, *overrides: str, **kinds: Factory) -> Run:
    """The small experiment with the stage in the place of the vision adapters."""
    factories = {"vision_adapter": lambda _, setting: stage(setting)}
    return with_parts(path, f"stages.vision_adapter.after={after}", *overrides, stages=factories, **kinds)


def deep_tokens(run: Run, images: Tensor, blocks: int) -> Tensor:
    """Tokens after the first blocks, inserted ones last, by hand; no other stage acts."""
    backbone = run.model.backbone
    (stage,) = {stage for _, name, stage in run.model.slots.of("vision") if name == "vision_adapter"}
    assert isinstance(stage, Deep)
    x = backbone.embed_image(images)
    for block in range(-1, blocks):
        x = backbone.vision_block(block, x) if block >= 0 else x
        if block + 1 in range(3):
            kept = x[:, : 1 + backbone.grid**2]
            x = torch.cat([kept, stage.tokens[block + 1].expand(len(x), -1, -1)], dim=1)
    return x


@pytest.mark.parametrize("reads", [Reads(), Reads(class_token="normed", projected=True), Reads(class_token="raw")])
@torch.no_grad()
def test_every_level_has_the_patches_alone_and_the_class_token_stays_first(
    small_experiment: Path, reads: Reads
) -> None:
    run, model = (found := run_with(small_experiment, Deep, "[-1, 0, 1]")), found.model
    images, backbone = images_for(run, 2), model.backbone
    found_tokens = model.image.read(images, reads, model.levels, {})
    for level, patches in found_tokens.levels.items():
        expected = backbone.finish_vision(deep_tokens(run, images, level)[:, 1:17])
        assert_close(patches, backbone.project_image(expected) if reads.projected else expected, atol=1e-5)
    if found_tokens.class_embedding is not None:
        last = deep_tokens(run, images, 8)[:, 0]
        normed = backbone.finish_vision(last[:, None])[:, 0] if reads.class_token == "normed" else last
        assert_close(found_tokens.class_embedding, backbone.project_image(normed), atol=1e-5)


def test_a_module_of_each_site_may_insert_at_each(small_experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(small_experiment, AtEachSite, "[0, 2]")
    lengths: list[int] = []
    inner: Callable[..., Tensor] = run.model.backbone.vision_block

    def watched(block: int, tokens: Tensor, surgery: Surgery) -> Tensor:
        lengths.append(tokens.shape[1])
        return inner(block, tokens, surgery)

    monkeypatch.setattr(run.model.backbone, "vision_block", watched)
    features = run.model.image_features(images_for(run, 1), CLASSES[:1], False)
    assert lengths == [17, 18, 18, 19, 19, 19, 19, 19]
    assert all(patches.shape[1] == 16 for patches in features.levels.values())


def test_what_is_inserted_is_seen_by_nobody_before_training(small_experiment: Path) -> None:
    run, other = run_with(small_experiment, Deep, "[-1, 0]"), with_parts(small_experiment)
    images = images_for(run, 2)
    found, expected = (
        one.model.image.untouched(images, one.model.untrained_reads, one.model.levels) for one in (run, other)
    )
    for level, patches in expected.levels.items():
        assert torch.equal(found.levels[level], patches)


def test_they_train_with_the_vision_tower(small_experiment: Path) -> None:
    run = run_with(small_experiment, Deep, "[-1, 0, 1]", "switches.dropout=false")
    (step,) = train(run, plan_for("vision", batch_size=8))
    assert step.gradient_norms["vision_adapter"] > 0


@torch.no_grad()
def test_the_report_counts_none_of_them_among_the_patches(small_experiment: Path) -> None:
    run = run_with(small_experiment, Deep, "[-1, 0]", "stages.image_to_text.after=[1]")
    picture, model = shown(run), run.model
    tokens = model.backbone.vision_block(1, deep_tokens(run, picture.image, 1))
    assert tokens.shape[1] == 17 + COUNT
    context = model.text_contexts((picture.class_name,), True)["text"]
    assert context.mask is not None
    (stage,) = [stage for _, name, stage in model.slots.of("vision") if name == "image_to_text"]
    weights = stage.attention_weights(tokens, context).mean(dim=1)[0] * context.mask.sum()  # type: ignore[operator]
    (entry,) = [one for one in attention_record(model, [picture], {"vision"})["stages"] if one["tower"] == "vision"]
    assert entry["reason"] is None
    start = entry["cases"][0]["looks"]["other patches"]["words"]["(start)"]
    starts = torch.arange(0, weights.shape[1], weights.shape[1] // 16)
    assert_close(start, float(weights[2:17, starts].mean()), rtol=0, atol=1e-4)  # written with 4 decimals


def test_a_stage_that_does_not_insert_what_it_says_is_one_plain_fault(small_experiment: Path) -> None:
    run = run_with(small_experiment, Forgets, "[0]")
    with pytest.raises(
        UserError, match=r"returned \(2, 17, 32\) for tokens of shape \(2, 17, 32\) with 1 to insert"
    ) as f:
        run.model.image_features(images_for(run, 2), CLASSES, False)
    assert f.value.where is not None and f.value.where.startswith("stages.vision_adapter after block 0 ")
    assert "Forgets" in f.value.where and "inserts" in str(f.value.fix)


def test_two_stages_that_insert_are_refused(small_experiment: Path) -> None:
    more = ["stages.more.use=residual_adapter", "stages.more.tower=vision", "stages.more.after=[1]"]
    factory = lambda _, setting: AtEachSite(setting)  # noqa: E731
    with pytest.raises(UserError, match="vision_adapter and more insert tokens, and one stage can") as caught:
        with_parts(small_experiment, *more, stages={"vision_adapter": factory, "more": factory})
    assert caught.value.where == "stages" and caught.value.fix == "leave one of them out"


def test_so_is_one_beside_a_head_that_reads_windows(small_experiment: Path) -> None:
    class Windows(TinyHead):
        needs_text = True

    windows = lambda _, setting: Windows(setting.backbone.vision.width, Reads(windows=(2,)))  # noqa: E731
    with pytest.raises(UserError, match="the head reads windows of the fixed grid of patches") as caught:
        run_with(small_experiment, AtEachSite, "[0]", head=windows)
    assert caught.value.where == "stages.vision_adapter"


def test_so_is_one_in_the_text_tower(small_experiment: Path) -> None:
    factory = {"text_adapter": lambda _, setting: AtEachSite(setting)}
    with pytest.raises(UserError, match="inserts tokens, which the text tower has no place for") as caught:
        with_parts(small_experiment, stages=factory)
    assert caught.value.where == "stages.text_adapter"
