"""The backbone contract: a frozen vision tower, mostly with a text tower, that the engine walks block by block.

One shape legend for the whole program:

| letter | meaning |
|---|---|
| B | images in a batch |
| S | image side in pixels |
| G, N | patch grid side, patches (N = G * G) |
| V | vision tokens: the class token, others that are no patches, then the patches (V = `prefix_tokens` + N) |
| Dv, Dt | vision width, text width |
| E | joint embedding width |
| T, L | context length of the tokenizer, tokens that are walked (L <= T) |
| P | prompts |
| M | tokens of a context |
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from .errors import UserError, no_text_tower

Surgery = Literal["none", "tokens", "batch"]
"""Which attention a vision block runs: its own, V-V over one image's tokens, or V-V over the batch (as published)."""


@dataclass(frozen=True)
class Tower:
    """Size of one tower: channels, number of blocks, attention heads."""

    width: int
    depth: int
    heads: int


class Backbone(nn.Module, ABC):
    """A vision tower, and a text tower or none. The engine freezes it; nothing else in the program knows a size.

    Image tensors are normalised with `image_mean` and `image_std`. Vision tokens carry the class token first, then
    others that are no patches, such as registers, then the patches. Without a text tower `text` is None, the options
    are `BackboneOptions` that say so, and the methods of text stay as they are here: each raises `UserError`.
    """

    vision: Tower
    text: Tower | None
    embedding_width: int
    image_size: int
    grid: int
    context_length: int = 0
    """0 without a text tower."""
    prefix_tokens: int = 1
    """Vision tokens before the patches: the class token, and then those that are neither."""
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    surgery_start: int
    """Index of the first vision block that runs V-V attention when frozen patch features are made."""

    def tokenize(self, prompts: Sequence[str]) -> Int[Tensor, "P T"]:
        """Token numbers, zero after end-of-text. Raises `UserError` for a prompt longer than the context length."""
        raise _missing(self, "tokenize")

    def end_of_text(self, tokens: Int[Tensor, "P T"]) -> Int[Tensor, " P"]:
        """Position of the end-of-text token of each prompt."""
        raise _missing(self, "end_of_text")

    def embed_text(self, tokens: Int[Tensor, "P L"]) -> Float[Tensor, "P L Dt"]:
        """Input of text block 0, positions added."""
        raise _missing(self, "embed_text")

    def text_positions(self, length: int) -> Float[Tensor, "L Dt"]:
        """What `embed_text` adds to the embeddings of the first `length` tokens, for prompts with tokens of their own.

        A backbone that does not offer it raises `UserError`, as here.
        """
        text_tower(self)
        raise UserError("this backbone offers no positions for learnt tokens", where="backbone", fix="use open_clip")

    def text_block(self, index: int, tokens: Float[Tensor, "P L Dt"]) -> Float[Tensor, "P L Dt"]:
        """Causal text block `index`."""
        raise _missing(self, "text_block")

    def finish_text(self, tokens: Float[Tensor, "P L Dt"], end: Int[Tensor, " P"]) -> Float[Tensor, "P Dt"]:
        """End-of-text token after the final layer norm, before any projection."""
        raise _missing(self, "finish_text")

    def project_text(self, features: Float[Tensor, "P Dt"]) -> Float[Tensor, "P E"]:
        """The backbone's own text projection."""
        raise _missing(self, "project_text")

    @abstractmethod
    def embed_image(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B V Dv"]:
        """Input of vision block 0: class token, others that are no patches, patch tokens; positions added."""

    @abstractmethod
    def vision_block(
        self, index: int, tokens: Float[Tensor, "B V Dv"], surgery: Surgery = "none"
    ) -> Float[Tensor, "B V Dv"]:
        """Vision block `index`, with its own attention or with V-V attention in its place."""

    def value_attention(self, index: int, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B V Dv"]:
        """What the attention of vision block `index` would add to its tokens with V-V weights; no residual, no MLP.

        A backbone that does not offer it raises `UserError`, as here.
        """
        raise UserError(
            "this backbone offers no V-V attention beside its blocks", where="backbone", fix="use open_clip"
        )

    @abstractmethod
    def finish_vision(self, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B V Dv"]:
        """The norm after the last block, applied to every token."""

    @abstractmethod
    def project_image(self, tokens: Float[Tensor, "*B Dv"]) -> Float[Tensor, "*B E"]:
        """The backbone's own image projection, on normed tokens.

        A backbone without a projection returns the tokens as they are; its `embedding_width` is the vision width.
        """

    def rule_features(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N C"]:
        """What the rule `patch_distance` compares the patches of an image by, row by row of the grid, of any width C.

        By default the patch tokens that `embed_image` gives. Features that no training on defects has shaped are
        better, and such as do not know where in the image they are.
        """
        return self.embed_image(images)[:, self.prefix_tokens :]


def text_tower(backbone: Backbone) -> Tower:
    """The size of the text tower. Raises `UserError` for a backbone that has none."""
    if backbone.text is None:
        raise no_text_tower()
    return backbone.text


def _missing(backbone: Backbone, method: str) -> Exception:
    if backbone.text is None:
        return no_text_tower()
    return NotImplementedError(f"{type(backbone).__name__} has a text tower and no {method}")
