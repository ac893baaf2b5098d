"""The published code's way to compute a step or a score, written anew: the yardstick that the engine is held to.

What makes it naive: every attention materialises its weights, for each head; a step of stage 1 runs the images through
the network four times; text is encoded over all 77 tokens; every weight takes a gradient, the frozen ones included; the
image context is copied for each prompt, the text context made for each image. The weights are those of an assembled
run, and so are losses and results where its profile is `published` (a test holds this).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from aaclip_kit import ImageFeatures, Scores
from aaclip_kit.data.loader import Batch
from aaclip_kit.model.text_tower import TextSide
from aaclip_kit.run.assemble import Run
from aaclip_kit.training.losses import WeightedLosses

Named = dict[str, Tensor | dict[int, Tensor]]

EXTRA_PASSES = 2
"""Image passes of a stage 2 step whose result its loss does not use: the published times at 224 and at 518 px are
those of forward, full backward and two more. They are timed apart, so that the ratio without them can be stated."""


@dataclass
class Naive:
    """Steps and scores on the detector of an assembled run, whose backbone is one of open_clip's."""

    run: Run
    extra_seconds: list[float] = field(default_factory=list)
    """Time of the extra passes of each step of stage 2."""

    @property
    def clip(self) -> Any:
        """The open_clip model."""
        return self.run.model.backbone.clip

    @property
    def text(self) -> TextSide:
        """The text side, which every published method has."""
        assert self.run.model.text is not None
        return self.run.model.text

    @property
    def head(self) -> Any:
        """The head `projections`."""
        return self.run.model.head

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Open_clip's own pass, `[B, E]`: a measure of the machine's speed at this work."""
        return self.clip.encode_image(images)

    def step(self, tower: str, batch: Batch) -> float:
        """Loss and backward of one step, with a gradient for every weight; no weight changes."""
        with self.all_gradients():
            loss = self.stage1(batch) if tower == "text" else self.stage2(batch)
            loss.backward()
            return loss.item()

    @contextmanager
    def all_gradients(self) -> Iterator[None]:
        """Every weight takes a gradient; afterwards only those that did before, and none holds one."""
        weights = list(self.run.model.parameters())
        before = [weight.requires_grad for weight in weights]
        self.run.model.requires_grad_(True)
        try:
            yield
        finally:
            for weight, kept in zip(weights, before, strict=True):
                weight.requires_grad_(kept)
                weight.grad = None

    def stage1(self, batch: Batch) -> Tensor:
        """Objective of a text step: frozen features twice (four passes), the batch's mean as context, padded text."""
        model, losses = self.run.model, self.run.losses["text"]
        levels = model.levels
        with torch.no_grad():
            context = self.frozen(batch.images, levels[:1])[levels[0]].mean(dim=0, keepdim=True)
            seen = self.frozen(batch.images, levels)
        by_class = {name: self.text_feature(name, context) for name in dict.fromkeys(batch.classes)}
        text = torch.stack([by_class[name] for name in batch.classes])
        maps = {level: self.probabilities(patches, text, batch) for level, patches in seen.items()}
        # As published: each level's loss replaces that of the level before.
        made: Named = {"level_probabilities": {levels[-1]: maps[levels[-1]]}, "text_features": text}
        return self._objective(losses, batch, made)

    def stage2(self, batch: Batch) -> Tensor:
        """Objective of a vision step, its text features made anew in each."""
        losses = self.run.losses["vision"]
        with torch.no_grad():
            start = time.perf_counter()
            for _ in range(EXTRA_PASSES):
                self.image_pass(batch.images)
            if batch.images.is_cuda:
                torch.cuda.synchronize()
            self.extra_seconds.append(time.perf_counter() - start)
            by_class = {name: self.text_feature(name, None) for name in dict.fromkeys(batch.classes)}
            text = torch.stack([by_class[name] for name in batch.classes])
            context = torch.cat([self.text_context(name) for name in batch.classes])
        levels, detection = self.trained(batch.images, context)
        maps = {level: self.probabilities(patches, text, batch) for level, patches in levels.items()}
        logits = (detection[..., None] * text).sum(dim=1)
        made: Named = {"level_probabilities": maps, "text_features": text, "detection_logits": logits}
        return self._objective(losses, batch, made)

    @torch.no_grad()
    def scores(self, images: Tensor, text: Tensor) -> Scores:
        """Raw scores of images of one class whose text feature is `text` `[E, 2]`; no stage with a context acts."""
        levels, detection = self.trained(images, None)
        features, each = ImageFeatures(levels, detection), text.expand(len(images), -1, -1)
        return self.run.model.head.score(features, each, images.shape[-1], "industrial", True)

    def frozen(self, images: Tensor, levels: Sequence[int]) -> dict[int, Tensor]:
        """Frozen features of `levels`, by a surgery pass and a plain pass through the whole tower."""
        operated, plain = self.image_pass(images, surgery=True), self.image_pass(images)
        embedding = _unit(self._normed(plain[-1][:, :1]) @ self.clip.visual.proj)
        return {level: _unit(self._normed(operated[level - 1][:, 1:]) @ self.clip.visual.proj) + embedding
                for level in levels}  # fmt: skip

    def trained(self, images: Tensor, context: Tensor | None) -> tuple[dict[int, Tensor], Tensor]:
        """Patch features by level and the detection feature of the trained vision side."""
        levels, outputs = self.run.model.levels, self.image_pass(images, context=context, stages=True)
        tokens = {level: self._normed(outputs[level - 1][:, 1:]) for level in levels}
        patches = {level: _unit(self.head.segmentation[str(level)](found)) for level, found in tokens.items()}
        return patches, _unit(self.head.detection(tokens[levels[-1]])).mean(dim=1)

    def image_pass(
        self, images: Tensor, surgery: bool = False, context: Tensor | None = None, stages: bool = False
    ) -> list[Tensor]:
        """Tokens after each block of the whole vision tower."""
        model, visual = self.run.model, self.clip.visual
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        first = visual.class_embedding.expand(len(images), 1, -1)
        x = visual.ln_pre(torch.cat([first, patches], dim=1) + visual.positional_embedding)
        outputs = []
        for index, block in enumerate(visual.transformer.resblocks):
            form = model.switches.surgery_attention if surgery and index >= model.backbone.surgery_start else ""
            x = _block(block, x, surgery=form)
            if stages:
                x = self._stages_after("vision", index, x, context)
            outputs.append(x)
        return outputs

    def text_feature(self, name: str, context: Tensor | None) -> Tensor:
        """`[E, 2]`: the class's normal prompts and then its abnormal ones, each encoded over the whole length."""
        prompts, book = self.text.prompts, self.text.book
        row, states = book.rows[name], []
        for part in (slice(None, prompts.normal_prompts), slice(prompts.normal_prompts, None)):
            ends, x = book.ends[row, part], self._text_input(book.tokens[row, part])
            for index, block in enumerate(self.clip.transformer.resblocks):
                x = self._stages_after("text", index, _block(block, x, causal=True), context)
            last = self.clip.ln_final(x[torch.arange(len(ends)), ends])
            features = prompts.project(self.run.model.backbone, last)
            states.append(_unit(_unit(features).mean(dim=0)))
        return torch.stack(states, dim=-1)

    def text_context(self, name: str) -> Tensor:
        """`[1, P * T, Dt]`: unit tokens of the class's prompts after the first block and its adapter, padding too."""
        book = self.text.book
        x = self._text_input(book.tokens[book.rows[name]])
        x = self._stages_after("text", 0, _block(self.clip.transformer.resblocks[0], x, causal=True), None)
        return _unit(x).flatten(0, 1)[None]

    def probabilities(self, patches: Tensor, text: Tensor, batch: Batch) -> Tensor:
        """Softmax over normal and abnormal at every pixel, `[B, 2, S, S]`."""
        side, size = round(patches.shape[1] ** 0.5), batch.images.shape[-1]
        grid = (100.0 * patches @ text).transpose(1, 2).unflatten(2, (side, side))
        return functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=True).softmax(dim=1)

    def _objective(self, losses: WeightedLosses, batch: Batch, made: Named) -> Tensor:
        terms = losses({**made, "masks": batch.masks, "labels": batch.labels})
        return torch.stack(list(terms.values())).sum()

    def _text_input(self, tokens: Tensor) -> Tensor:
        table = self.clip.token_embedding
        return table(tokens.to(table.weight.device)) + self.clip.positional_embedding

    def _stages_after(self, tower: Any, index: int, x: Tensor, context: Tensor | None) -> Tensor:
        for at, _, stage in self.run.model.slots.of(tower):
            if at == index and stage.context_kind == "none":
                x = _adapter(stage, x)
            elif at == index and context is not None:
                x = _cross_attention(stage, x, context.expand(len(x), -1, -1))
        return x

    def _normed(self, tokens: Tensor) -> Tensor:
        return self.clip.visual.ln_post(tokens)


def _block(block: Any, x: Tensor, causal: bool = False, surgery: str = "") -> Tensor:
    """One transformer block; `surgery` says over what V-V attention runs."""
    normed = block.ln_1(x)
    if surgery == "batch":
        normed = normed.transpose(0, 1).contiguous()
    layer = block.attn
    q, k, v = functional.linear(normed, layer.in_proj_weight, layer.in_proj_bias).chunk(3, dim=-1)
    attended, _ = _attention(v if surgery else q, v if surgery else k, v, layer.num_heads, causal)
    update = layer.out_proj(attended)
    x = x + (update.transpose(0, 1) if surgery == "batch" else update)
    return x + block.mlp(block.ln_2(x))


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> tuple[Tensor, Tensor]:
    """The output `[items, L, D]` and the weights of every head `[items, heads, L, M]`."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    similarity = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if causal:
        later = torch.full(similarity.shape[-2:], -torch.inf, device=q.device, dtype=q.dtype).triu(1)
        similarity = similarity + later
    weights = similarity.softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2), weights


def _adapter(stage: Any, x: Tensor) -> Tensor:
    update = stage.activation(stage.linear(x))
    matched = update * x.norm(dim=-1, keepdim=True) / update.norm(dim=-1, keepdim=True)
    return (1 - stage.weight) * x + stage.weight * matched


def _cross_attention(stage: Any, x: Tensor, context: Tensor) -> Tensor:
    attended, _ = _attention(stage.q_proj(x), stage.k_proj(context), stage.v_proj(context), stage.heads)
    update = stage.out_proj(attended)
    matched = update * x.norm(dim=-1, keepdim=True) / (update.norm(dim=-1, keepdim=True) + 1e-6)
    return x + stage.scale * matched


def _unit(features: Tensor) -> Tensor:
    return features / features.norm(dim=-1, keepdim=True)
