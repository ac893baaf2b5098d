"""The text side: text features of classes, and the text context of the vision stages (method: sections 2 and 4)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contracts.backbone import Backbone, text_tower
from ..contracts.prompts import Prompts
from ..contracts.stage import Context
from ..experiment.schema import TextContextForm
from ..kernels.maps import unit
from .prompts import PromptBook
from .stage_slots import NO_CONTEXT, Contexts, StageSlots

TEXT_CONTEXT_BLOCK = 0


class TextSide:
    """Walks the text tower. Holds references only; parameters belong to the model."""

    def __init__(
        self, backbone: Backbone, slots: StageSlots, prompts: Prompts, book: PromptBook, context_form: TextContextForm
    ) -> None:
        self.backbone, self.slots, self.prompts, self.book = backbone, slots, prompts, book
        self.context_form = context_form

    @property
    def goes_by_image(self) -> bool:
        """Whether the prompts themselves depend on the image."""
        return self.prompts.conditioned_from is not None

    def class_features(self, classes: tuple[str, ...], book: PromptBook | None = None) -> Float[Tensor, "K E 2"]:
        """Compute the text feature of each class, without an image; `book` has prompts in place of the model's own."""
        tokens, ends = (book or self.book).select(classes, self.device)
        walked = self._walk(tokens.flatten(0, 1), ends.flatten(), None, NO_CONTEXT)
        return self._combined(walked, ends.shape)

    def untrained_features(
        self, classes: tuple[str, ...], book: PromptBook | None = None, embedding: Float[Tensor, "K E"] | None = None
    ) -> Float[Tensor, "K E 2"]:
        """Compute the same with the untouched backbone: no stage, and the projection before training.

        `embedding` has the class embedding of an image for each class, for prompts that go by it.
        """
        tokens, ends = (book or self.book).select(classes, self.device)
        x = self.prompts.embed(self.backbone, tokens.flatten(0, 1))
        for block in range(text_tower(self.backbone).depth):
            x = self.backbone.text_block(block, self._before(block, x, embedding))
        features = self.backbone.finish_text(x, ends.flatten())
        return self.prompts.combine(self.prompts.project_untrained(self.backbone, features).unflatten(0, ends.shape))

    def own_features(
        self,
        classes: tuple[str, ...],
        context: Float[Tensor, "B N E"] | None,
        book: PromptBook | None = None,
        embedding: Float[Tensor, "B E"] | None = None,
    ) -> Float[Tensor, "B E 2"]:
        """Compute the text feature of each image's class, conditioned on that image: by stages, prompts, or both."""
        book = book or self.book
        unique, rows = distinct(book.alike(classes), self.device)
        tokens, ends = book.select(unique, self.device)
        count = tokens.shape[1]
        gather = (rows[:, None] * count + torch.arange(count, device=rows.device)).flatten()
        contexts: Contexts = NO_CONTEXT if context is None else {"image": Context(context)}
        walked = self._walk(tokens.flatten(0, 1), ends.flatten(), gather, contexts, embedding)
        return self._combined(walked, torch.Size((len(classes), count)))

    def batch_context_features(
        self, classes: tuple[str, ...], context: Float[Tensor, "batch N E"], book: PromptBook | None = None
    ) -> Float[Tensor, "B E 2"]:
        """Compute them as published: of the whole batch's mean context; as many as prompts are paired one by one."""
        book = book or self.book
        unique, rows = distinct(book.alike(classes), context.device)
        tokens, ends = book.select(unique, self.device)
        normal = self.prompts.normal_prompts
        if len(context) in (normal, tokens.shape[1] - normal):
            paired = [self._paired(row, end, context) for row, end in zip(tokens, ends, strict=True)]
            return torch.cat(paired).index_select(0, rows)
        mean = Context(context.mean(dim=0, keepdim=True))
        walked = self._walk(tokens.flatten(0, 1), ends.flatten(), None, {"image": mean})
        return self._combined(walked, ends.shape).index_select(0, rows)

    def _paired(self, tokens: Tensor, ends: Tensor, context: Float[Tensor, "B N E"]) -> Float[Tensor, "1 E 2"]:
        """The feature of one class: a state with as many prompts as contexts has one for each, the other their mean."""
        normal, mean = self.prompts.normal_prompts, context.mean(dim=0, keepdim=True)
        counts = (normal, len(tokens) - normal)
        seen = [context if len(context) == count else mean.expand(count, -1, -1) for count in counts]
        walked = self._walk(tokens, ends, None, {"image": Context(torch.cat(seen))})
        return self._combined(walked, torch.Size((1, len(tokens))))

    def text_context(self, classes: tuple[str, ...], padding: bool, book: PromptBook | None = None) -> Context:
        """Compute the text tokens after the first site's adapters, unit or raw, one row a class: `[K, P * L, Dt]`.

        With `padding` every token of the context length is attended to; without, those after end-of-text are masked.
        """
        book = book or self.book
        tokens, ends = book.select(classes, self.device)
        if padding:
            tokens = book.tokens[[book.rows[name] for name in classes]].to(self.device)
        x = self.slots.apply_after("text", -1, self.prompts.embed(self.backbone, tokens.flatten(0, 1)), NO_CONTEXT)
        for block in range(TEXT_CONTEXT_BLOCK + 1):
            x = self.backbone.text_block(block, self._before(block, x, None))
            x = self.slots.apply_after("text", block, x, NO_CONTEXT)
        rows = (unit(x) if self.context_form == "unit" else x).unflatten(0, ends.shape).flatten(1, 2)
        if padding:
            return Context(rows)
        places = torch.arange(tokens.shape[-1], device=ends.device)
        return Context(rows, (places <= ends[..., None]).flatten(1, 2))

    def _walk(
        self,
        tokens: Int[Tensor, "P L"],
        ends: Int[Tensor, " P"],
        gather: Tensor | None,
        contexts: Contexts,
        embedding: Float[Tensor, "B E"] | None = None,
    ) -> Float[Tensor, "items Dt"]:
        """End-of-text features. Rows are copied for each image (`gather`) only where it first acts."""
        split, x = self._split(contexts), self.prompts.embed(self.backbone, tokens)
        for block in range(-1, text_tower(self.backbone).depth):
            if block >= 0:
                x = self.backbone.text_block(block, self._before(block, x, embedding))
            if block == split and gather is not None:
                # Not x[gather]: with several threads its gradient adds up in any order.
                x, ends, gather = x.index_select(0, gather), ends.index_select(0, gather), None
            x = self.slots.apply_after("text", block, x, contexts)
        walked = self.backbone.finish_text(x, ends)
        return walked if gather is None else walked.index_select(0, gather)

    def _split(self, contexts: Contexts) -> int | None:
        """The block after which an image first acts: by a stage there, or by the prompts before the next block."""
        by_stage, by_prompts = self.slots.first_conditioned("text", contexts), self.prompts.conditioned_from
        acting = [by_stage, None if by_prompts is None else by_prompts - 1]
        return min((block for block in acting if block is not None), default=None)

    def _before(self, block: int, tokens: Tensor, embedding: Float[Tensor, "B E"] | None) -> Tensor:
        """The tokens that a block is given."""
        first = self.prompts.conditioned_from
        if first is None or embedding is None or block < first:
            return self.prompts.before_block(block, tokens, None)
        each = embedding.repeat_interleave(len(tokens) // len(embedding), dim=0)
        return self.prompts.before_block(block, tokens, each)

    def _combined(self, walked: Float[Tensor, "items Dt"], shape: torch.Size) -> Float[Tensor, "K E 2"]:
        return self.prompts.combine(self.prompts.project(self.backbone, walked).unflatten(0, shape))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device


def distinct(classes: tuple[str, ...], device: torch.device) -> tuple[tuple[str, ...], Int[Tensor, " B"]]:
    """Each class once, and which of them each of the given ones is."""
    unique = tuple(dict.fromkeys(classes))
    return unique, torch.tensor([unique.index(name) for name in classes], device=device)
