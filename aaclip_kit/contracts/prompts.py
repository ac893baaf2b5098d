"""The prompts contract: where the words of a class become its text feature."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .backbone import Backbone, text_tower

Drawn = Callable[..., AbstractContextManager[None]]
"""`with drawn("projection"):` draws first weights from a stream of that name, whatever else is drawn before."""


@dataclass(frozen=True, kw_only=True)
class PromptSetting:
    """What a factory of prompts is told: the backbone whose text tower is walked, and how first weights are drawn."""

    backbone: Backbone
    drawn: Drawn

    def own_projection(self) -> Float[Tensor, "E Dt"]:
        """Return the matrix of the backbone's own text projection; a constant that it adds is left out."""
        return matrix_of(self.backbone.project_text, text_tower(self.backbone).width)


@torch.no_grad()
def matrix_of(linear: Callable[[Tensor], Tensor], width: int) -> Float[Tensor, "E D"]:
    """Return the matrix of a linear map from `width` channels; a constant that it adds is left out."""
    return (linear(torch.eye(width)) - linear(torch.zeros(1, width))).T


class Prompts(nn.Module, ABC):
    """Makes prompts of a class name, changes their tokens on the way through the text tower, and joins their features.

    The engine walks the tower: `embed`, then before each block `before_block`, the block, and the stages after it; then
    `project` and `combine`. Its parameters train in text phases. P prompts a class, normal ones first, as many for
    every class; item i is prompt i % P of its class. T, L, Dt and E as in the shape legend.
    """

    normal_prompts: int
    """How many of a class's prompts, the first ones, are of the normal state; the others are of the abnormal one."""

    published_unused: tuple[str, ...] = ()
    """Patterns, with * for any text, of keys in published checkpoints that no parameter stands for: whoever reads one
    passes over them."""

    conditioned_from: int | None = None
    """First block before which `before_block` goes by the image; None where text features are a class's alone."""

    @abstractmethod
    def prompts(self, real_name: str) -> Sequence[str]:
        """Return the prompts of a class. Raises `UserError` for a name that they cannot use."""

    def embed(self, backbone: Backbone, tokens: Int[Tensor, "items L"]) -> Float[Tensor, "items L Dt"]:
        """Return the input of text block 0; by default the backbone's own embedding, positions added.

        The items are those of whole classes, the P prompts of one after those of the other. Tokens of the prompts' own
        need `backbone.text_positions`.
        """
        return backbone.embed_text(tokens)

    def before_block(
        self, block: int, tokens: Float[Tensor, "items L Dt"], image: Float[Tensor, "items E"] | None
    ) -> Float[Tensor, "items L Dt"]:
        """Return what block `block` is given; by default the tokens as they are.

        `image` is the class embedding of each item's image by the untouched backbone, not of unit length, from block
        `conditioned_from` on; None before it, for prompts that do not go by the image, and where the text context of
        vision stages is made, which is a class's alone.
        """
        return tokens

    def project(self, backbone: Backbone, features: Float[Tensor, "items Dt"]) -> Float[Tensor, "items E"]:
        """Return the end-of-text tokens in the joint space; by default by the backbone's own projection."""
        return backbone.project_text(features)

    def project_untrained(self, backbone: Backbone, features: Float[Tensor, "items Dt"]) -> Float[Tensor, "items E"]:
        """Return the same before anything is trained; by default what `project` gives."""
        return self.project(backbone, features)

    @abstractmethod
    def combine(self, features: Float[Tensor, "K P E"]) -> Float[Tensor, "K E 2"]:
        """Return the text feature of each class, (normal, abnormal), from those of its prompts."""

    def published_names(self) -> dict[str, str]:
        """Return the key in published checkpoints of each parameter, by its name here; empty where there are none.

        A key in a table of a file has the table's name before it: TABLE.KEY.
        """
        return {}
