"""The text side: text features, and the text context of the vision stage (method: sections 2 and 4)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contracts.backbone import Backbone, text_tower
from ..contracts.stage import Context
from ..experiment.schema import TextContextForm
from .heads import Heads, unit
from .prompts import NORMAL_PROMPTS, PromptBook
from .stage_slots import NO_CONTEXT, Contexts, StageSlots

TEXT_CONTEXT_BLOCK = 0


class TextSide:
    """Walks the text tower. Holds references only; parameters belong to the model."""

    def __init__(
        self, backbone: Backbone, slots: StageSlots, heads: Heads, prompts: PromptBook, context_form: TextContextForm
    ) -> None:
        self.backbone, self.slots, self.heads, self.prompts = backbone, slots, heads, prompts
        self.context_form = context_form

    def class_features(self, classes: tuple[str, ...], prompts: PromptBook | None = None) -> Float[Tensor, "K E 2"]:
        """Compute the text feature of each class, without image context; `prompts` in place of the model's own."""
        tokens, ends = (prompts or self.prompts).select(classes, self._device)
        walked = self._walk(tokens.flatten(0, 1), ends.flatten(), None, NO_CONTEXT)
        return _average(self.heads.text(walked).unflatten(0, ends.shape))

    def frozen_features(self, classes: tuple[str, ...], prompts: PromptBook | None = None) -> Float[Tensor, "K E 2"]:
        """Compute the same with the untouched backbone: no stage, its own projection."""
        tokens, ends = (prompts or self.prompts).select(classes, self._device)
        x = self.backbone.embed_text(tokens.flatten(0, 1))
        for block in range(text_tower(self.backbone).depth):
            x = self.backbone.text_block(block, x)
        features = self.backbone.project_text(self.backbone.finish_text(x, ends.flatten()))
        return _average(features.unflatten(0, ends.shape))

    def own_context_features(
        self, classes: tuple[str, ...], context: Float[Tensor, "B N E"], prompts: PromptBook | None = None
    ) -> Float[Tensor, "B E 2"]:
        """Compute the text feature of each image's class, conditioned on that image."""
        unique, rows = distinct(classes, context.device)
        tokens, ends = (prompts or self.prompts).select(unique, self._device)
        count = tokens.shape[1]
        gather = (rows[:, None] * count + torch.arange(count, device=rows.device)).flatten()
        walked = self._walk(tokens.flatten(0, 1), ends.flatten(), gather, {"image": Context(context)})
        return _average(self.heads.text(walked).unflatten(0, (len(classes), count)))

    def batch_context_features(
        self, classes: tuple[str, ...], context: Float[Tensor, "batch N E"], prompts: PromptBook | None = None
    ) -> Float[Tensor, "B E 2"]:
        """Compute them as published: of the whole batch's mean context; as many as prompts are paired one by one."""
        unique, rows = distinct(classes, context.device)
        tokens, ends = (prompts or self.prompts).select(unique, self._device)
        if len(context) in (NORMAL_PROMPTS, tokens.shape[1] - NORMAL_PROMPTS):
            states = (slice(NORMAL_PROMPTS), slice(NORMAL_PROMPTS, None))
            features = [
                torch.stack([self._state(row[state], end[state], context) for state in states], dim=-1)
                for row, end in zip(tokens, ends, strict=True)
            ]
            return torch.stack(features).index_select(0, rows)
        mean = Context(context.mean(dim=0, keepdim=True))
        walked = self._walk(tokens.flatten(0, 1), ends.flatten(), None, {"image": mean})
        return _average(self.heads.text(walked).unflatten(0, ends.shape)).index_select(0, rows)

    def _state(self, tokens: Tensor, ends: Tensor, context: Float[Tensor, "B N E"]) -> Float[Tensor, " E"]:
        seen = context if len(context) == len(tokens) else context.mean(dim=0, keepdim=True)
        walked = self._walk(tokens, ends, None, {"image": Context(seen)})
        return unit(unit(self.heads.text(walked)).mean(dim=0))

    def text_context(self, classes: tuple[str, ...], padding: bool, prompts: PromptBook | None = None) -> Context:
        """Compute the text tokens after the first site's adapters, unit or raw, one row a class: `[K, P * L, Dt]`.

        With `padding` every token of the context length is attended to; without, those after end-of-text are masked.
        """
        book = prompts or self.prompts
        tokens, ends = book.select(classes, self._device)
        if padding:
            tokens = book.tokens[[book.rows[name] for name in classes]].to(self._device)
        x = self.backbone.embed_text(tokens.flatten(0, 1))
        for block in range(TEXT_CONTEXT_BLOCK + 1):
            x = self.slots.apply_after("text", block, self.backbone.text_block(block, x), NO_CONTEXT)
        rows = (unit(x) if self.context_form == "unit" else x).unflatten(0, ends.shape).flatten(1, 2)
        if padding:
            return Context(rows)
        places = torch.arange(tokens.shape[-1], device=ends.device)
        return Context(rows, (places <= ends[..., None]).flatten(1, 2))

    def _walk(
        self, tokens: Int[Tensor, "P L"], ends: Int[Tensor, " P"], gather: Tensor | None, contexts: Contexts
    ) -> Float[Tensor, "items Dt"]:
        """End-of-text features. Rows are copied for each image (`gather`) only where its context first acts."""
        split = self.slots.first_conditioned("text", contexts)
        x = self.backbone.embed_text(tokens)
        for block in range(text_tower(self.backbone).depth):
            x = self.backbone.text_block(block, x)
            if block == split and gather is not None:
                # Not x[gather]: with several threads its gradient adds up in any order.
                x, ends, gather = x.index_select(0, gather), ends.index_select(0, gather), None
            x = self.slots.apply_after("text", block, x, contexts)
        walked = self.backbone.finish_text(x, ends)
        return walked if gather is None else walked.index_select(0, gather)

    @property
    def _device(self) -> torch.device:
        return self.heads.text.linear.weight.device


def distinct(classes: tuple[str, ...], device: torch.device) -> tuple[tuple[str, ...], Int[Tensor, " B"]]:
    """Each class once, and which of them each of the given ones is."""
    unique = tuple(dict.fromkeys(classes))
    return unique, torch.tensor([unique.index(name) for name in classes], device=device)


def _average(features: Float[Tensor, "K P E"]) -> Float[Tensor, "K E 2"]:
    """Unit prompts, averaged within each state, and unit again."""
    features = unit(features)
    normal, abnormal = features[:, :NORMAL_PROMPTS].mean(dim=1), features[:, NORMAL_PROMPTS:].mean(dim=1)
    return unit(torch.stack([normal, abnormal], dim=1)).transpose(1, 2)
