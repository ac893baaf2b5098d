"""A plugin file of backbones that each break one promise: a toy with two towers of two blocks in plain torch."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor, nn

from aaclip_kit import Backbone, BackboneOptions, Options, Tower, UserError, hookimpl

END = 99
LENGTH = 40


class GoodOptions(Options):
    """A toy."""


class Undocumented(Options):
    pass


class WithoutTextOptions(BackboneOptions):
    """A toy that says that it has no text tower."""

    has_text = False


class Block(nn.Module):
    """Single-head attention and a linear layer, both residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query, self.value, self.out = (nn.Linear(width, width) for _ in range(3))

    def forward(self, tokens: Tensor, surgery: str = "none", causal: bool = False) -> Tensor:
        normed = self.norm(tokens)
        values = self.value(normed)
        queries = self.query(normed) if surgery == "none" else values
        if surgery == "batch":
            return tokens + self.out(attend(values.transpose(0, 1), values.transpose(0, 1)).transpose(0, 1))
        return tokens + self.out(attend(queries, values, causal))


def attend(queries: Tensor, values: Tensor, causal: bool = False) -> Tensor:
    scores = queries @ values.transpose(1, 2)
    if causal:
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores.softmax(dim=-1) @ values


class Good(Backbone):
    """Keeps every promise; the others differ from it in one."""

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.vision, self.text = Tower(20, 2, 1), Tower(12, 2, 1)
        self.embedding_width, self.image_size, self.grid, self.context_length = 8, 16, 2, LENGTH
        self.image_mean, self.image_std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        self.surgery_start = 1
        self.words, self.places = nn.Embedding(100, 12), nn.Parameter(torch.randn(LENGTH, 12))
        self.patches, self.class_token = nn.Conv2d(3, 20, 8, 8), nn.Parameter(torch.randn(20))
        self.text_blocks = nn.ModuleList(Block(12) for _ in range(2))
        self.vision_blocks = nn.ModuleList(Block(20) for _ in range(2))
        self.text_norm, self.vision_norm = nn.LayerNorm(12), nn.LayerNorm(20)
        self.text_out, self.vision_out = nn.Linear(12, 8), nn.Linear(20, 8)

    def tokenize(self, prompts: Any) -> Tensor:
        rows = torch.zeros(len(prompts), LENGTH, dtype=torch.long)
        for row, prompt in zip(rows, prompts, strict=True):
            numbers = [1 + zlib.crc32(word.encode()) % 98 for word in prompt.split()]
            if len(numbers) >= LENGTH:
                raise UserError("the prompt is too long", fix="shorten it")
            row[: len(numbers) + 1] = torch.tensor([*numbers, END])
        return rows

    def end_of_text(self, tokens: Tensor) -> Tensor:
        return tokens.argmax(dim=-1)

    def embed_text(self, tokens: Tensor) -> Tensor:
        return self.words(tokens) + self.places[: tokens.shape[1]]

    def text_block(self, index: int, tokens: Tensor) -> Tensor:
        return self.text_blocks[index](tokens, causal=True)

    def finish_text(self, tokens: Tensor, end: Tensor) -> Tensor:
        return self.text_norm(tokens[torch.arange(len(tokens)), end])

    def project_text(self, features: Tensor) -> Tensor:
        return self.text_out(features)

    def embed_image(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(images), 1, -1), patches], dim=1)

    def vision_block(self, index: int, tokens: Tensor, surgery: Any = "none") -> Tensor:
        return self.vision_blocks[index](tokens, surgery)

    def finish_vision(self, tokens: Tensor) -> Tensor:
        return self.vision_norm(tokens)

    def project_image(self, tokens: Tensor) -> Tensor:
        return self.vision_out(tokens)


class GoodWithoutText(Backbone):
    """Keeps every promise without a text tower, a register between the class token and the patches."""

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.vision, self.text, self.prefix_tokens = Tower(20, 2, 1), None, 2
        self.embedding_width, self.image_size, self.grid, self.surgery_start = 20, 16, 2, 1
        self.image_mean, self.image_std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        self.patches, self.prefix = nn.Conv2d(3, 20, 8, 8), nn.Parameter(torch.randn(2, 20))
        self.blocks, self.norm = nn.ModuleList(Block(20) for _ in range(2)), nn.LayerNorm(20)

    def embed_image(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        return torch.cat([self.prefix.expand(len(images), -1, -1), patches], dim=1)

    def vision_block(self, index: int, tokens: Tensor, surgery: Any = "none") -> Tensor:
        return self.blocks[index](tokens, surgery)

    def finish_vision(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens)

    def project_image(self, tokens: Tensor) -> Tensor:
        return tokens


class UncountedRegister(GoodWithoutText):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.prefix_tokens = 1


class NoPrefix(GoodWithoutText):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.prefix_tokens = 0


class NoStatistics(Good):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        del self.image_std


class ZeroDeviation(Good):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.image_std = (0.25, 0.25, 0.0)


class SurgeryBeyond(Good):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.surgery_start = 3


class AnotherGrid(Good):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.grid = 3


class NoClassToken(Good):
    def embed_image(self, images: Tensor) -> Tensor:
        return super().embed_image(images)[:, 1:]


class PadsWithEnds(Good):
    def tokenize(self, prompts: Any) -> Tensor:
        rows = super().tokenize(prompts)
        return torch.where(rows == 0, END, rows)


class CutsPrompts(Good):
    def tokenize(self, prompts: Any) -> Tensor:
        return super().tokenize([" ".join(prompt.split()[: LENGTH - 1]) for prompt in prompts])


class CountsFromOne(Good):
    def end_of_text(self, tokens: Tensor) -> Tensor:
        return tokens.argmax(dim=-1) + 1


class SeesAhead(Good):
    def text_block(self, index: int, tokens: Tensor) -> Tensor:
        return self.text_blocks[index](tokens)


class WholeLengthOnly(Good):
    def embed_text(self, tokens: Tensor) -> Tensor:
        return self.words(tokens) + self.places


class AcrossImages(Good):
    def vision_block(self, index: int, tokens: Tensor, surgery: Any = "none") -> Tensor:
        return self.vision_blocks[index](tokens, "batch" if surgery == "tokens" else surgery)


class BatchStatistics(Good):
    def finish_vision(self, tokens: Tensor) -> Tensor:
        return super().finish_vision(tokens - tokens.mean(dim=0))


class NoSurgery(Good):
    def vision_block(self, index: int, tokens: Tensor, surgery: Any = "none") -> Tensor:
        return self.vision_blocks[index](tokens, "none")


class NoBatchSurgery(Good):
    def vision_block(self, index: int, tokens: Tensor, surgery: Any = "none") -> Tensor:
        return self.vision_blocks[index](tokens, "tokens" if surgery == "batch" else surgery)


class Noisy(Good):
    def project_image(self, tokens: Tensor) -> Tensor:
        return super().project_image(tokens) + 0.1 * torch.randn(8)


class PlainWeights(Good):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.shift = torch.randn(20)

    def embed_image(self, images: Tensor) -> Tensor:
        return super().embed_image(images) + self.shift


class NoGradient(Good):
    @torch.no_grad()
    def vision_block(self, index: int, tokens: Tensor, surgery: Any = "none") -> Tensor:
        return super().vision_block(index, tokens, surgery)


class LearnsOnTheWay(Good):
    seen: Tensor

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.register_buffer("seen", torch.zeros(()))

    def embed_image(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return super().embed_image(images)


BROKEN: dict[str, tuple[type, type[Options], str]] = {
    "undocumented": (Good, Undocumented, "B1"),
    "no_backbone": (nn.Identity, GoodOptions, "B2"),
    "no_statistics": (NoStatistics, GoodOptions, "B2"),
    "zero_deviation": (ZeroDeviation, GoodOptions, "B2"),
    "surgery_beyond": (SurgeryBeyond, GoodOptions, "B2"),
    "text_that_options_deny": (Good, WithoutTextOptions, "B2"),
    "text_that_options_promise": (GoodWithoutText, GoodOptions, "B2"),
    "no_prefix": (NoPrefix, WithoutTextOptions, "B2"),
    "another_grid": (AnotherGrid, GoodOptions, "B3"),
    "uncounted_register": (UncountedRegister, WithoutTextOptions, "B3"),
    "no_class_token": (NoClassToken, GoodOptions, "B3"),
    "pads_with_ends": (PadsWithEnds, GoodOptions, "B4"),
    "cuts_prompts": (CutsPrompts, GoodOptions, "B4"),
    "counts_from_one": (CountsFromOne, GoodOptions, "B4"),
    "sees_ahead": (SeesAhead, GoodOptions, "B5"),
    "whole_length_only": (WholeLengthOnly, GoodOptions, "B5"),
    "across_images": (AcrossImages, GoodOptions, "B6"),
    "batch_statistics": (BatchStatistics, GoodOptions, "B6"),
    "no_surgery": (NoSurgery, GoodOptions, "B7"),
    "no_batch_surgery": (NoBatchSurgery, GoodOptions, "B7"),
    "noisy": (Noisy, GoodOptions, "B8"),
    "plain_weights": (PlainWeights, GoodOptions, "B9"),
    "no_gradient": (NoGradient, GoodOptions, "B10"),
    "learns_on_the_way": (LearnsOnTheWay, GoodOptions, "B11"),
}
"""Factory, options, and the check that catches it."""

CAUGHT_BY = {name: check for name, (_, _, check) in BROKEN.items()}


@hookimpl
def register_backbones(register: Any) -> None:
    register("good", Good, GoodOptions)
    register("good_without_text", GoodWithoutText, WithoutTextOptions)
    for name, (factory, options, _) in BROKEN.items():
        register(name, factory, options)
