"""CLIP's two towers behind the backbone contract, whoever made them: blocks with V-V attention, OpenAI's activation."""

from collections.abc import Sequence
from functools import cache
from textwrap import shorten
from typing import Any

import torch
from jaxtyping import Float, Int
from open_clip import SimpleTokenizer
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from aaclip_kit import Backbone, Surgery, Tower, UserError

SLOPE = 1.702

_tokenizer = cache(SimpleTokenizer)
"""By its context length: reading the vocabulary takes most of a second, copying it with a backbone as long."""


class ClipBackbone(Backbone):
    """A frozen CLIP of open_clip's with vision-transformer image tower; no parameter takes a gradient, no dropout acts.

    `surgery_blocks` is how many of the last vision blocks run V-V attention when frozen features are made. Raises
    `UserError` for more than there are.
    """

    text: Tower

    def __init__(self, clip: Any, surgery_blocks: int) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.vision, self.text = _tower(clip.visual.transformer), _tower(clip.transformer)
        self.embedding_width = int(clip.visual.output_dim)
        self.grid = int(clip.visual.grid_size[0])
        self.image_size = int(clip.visual.image_size[0])
        self.context_length = int(clip.context_length)
        super().train(False)
        if surgery_blocks > self.vision.depth:
            problem = f"{surgery_blocks} blocks of surgery in a tower of {self.vision.depth}"
            raise UserError(problem, where="backbone.surgery_blocks", fix=f"choose 0 to {self.vision.depth}")
        self.surgery_start = self.vision.depth - surgery_blocks

    def train(self, mode: bool = True) -> "ClipBackbone":
        """Stay in evaluation mode: a frozen backbone has no other."""
        return super().train(False)

    def tokenize(self, prompts: Sequence[str]) -> Int[Tensor, "P T"]:
        """Token numbers, zero after end-of-text.

        Raises `UserError` for a prompt longer than the context length, or with the sign of a start or an end in it.
        """
        tokenizer, room = _tokenizer(context_length=self.context_length), self.context_length - 2
        for prompt in prompts:
            numbers = tokenizer.encode(prompt)
            length = len(numbers)
            if {tokenizer.sot_token_id, tokenizer.eot_token_id}.intersection(numbers):
                problem = f'the prompt "{shorten(prompt, 80)}" holds the sign of a text\'s start or end'
                raise UserError(problem, fix="give the class a real name of plain words")
            if length > room:
                problem = f'the prompt "{shorten(prompt, 80)}" has {length} tokens; the model reads {room}'
                raise UserError(problem, fix="give the class a shorter real name")
        return tokenizer(list(prompts))

    def end_of_text(self, tokens: Int[Tensor, "P T"]) -> Int[Tensor, " P"]:
        """Position of the end-of-text token, the largest number of the vocabulary."""
        return tokens.argmax(dim=-1)

    def embed_text(self, tokens: Int[Tensor, "P L"]) -> Float[Tensor, "P L Dt"]:
        """Input of text block 0, positions added."""
        return self.clip.token_embedding(tokens) + self.text_positions(tokens.shape[1])

    def text_positions(self, length: int) -> Float[Tensor, "L Dt"]:
        """CLIP's own."""
        return self.clip.positional_embedding[:length]

    def text_block(self, index: int, tokens: Float[Tensor, "P L Dt"]) -> Float[Tensor, "P L Dt"]:
        """Causal text block `index`."""
        return run_block(self.clip.transformer.resblocks[index], tokens, causal=True)

    def finish_text(self, tokens: Float[Tensor, "P L Dt"], end: Int[Tensor, " P"]) -> Float[Tensor, "P Dt"]:
        """End-of-text token after the final layer norm."""
        return self.clip.ln_final(tokens[torch.arange(len(tokens), device=tokens.device), end])

    def project_text(self, features: Float[Tensor, "P Dt"]) -> Float[Tensor, "P E"]:
        """CLIP's own text projection."""
        projection = self.clip.text_projection
        return projection(features) if isinstance(projection, nn.Linear) else features @ projection

    def embed_image(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B V Dv"]:
        """Class token and patch tokens, positions added, after CLIP's first norm.

        The tokens keep the weights' precision under autocast, so that rounding does not pile up along the blocks.
        """
        visual = self.clip.visual
        class_token = visual.class_embedding.expand(len(images), 1, -1)
        patches = visual.conv1(images).flatten(2).transpose(1, 2).to(class_token.dtype)
        return visual.ln_pre(torch.cat([class_token, patches], dim=1) + visual.positional_embedding)

    def vision_block(
        self, index: int, tokens: Float[Tensor, "B V Dv"], surgery: Surgery = "none"
    ) -> Float[Tensor, "B V Dv"]:
        """Vision block `index`, with its own attention or with V-V attention in its place."""
        return run_block(self.clip.visual.transformer.resblocks[index], tokens, surgery=surgery)

    def value_attention(self, index: int, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B V Dv"]:
        """What the block's attention would add with V-V weights."""
        block = self.clip.visual.transformer.resblocks[index]
        return block.ls_1(attention(block.attn, block.ln_1(tokens), values_only=True))

    def finish_vision(self, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B V Dv"]:
        """CLIP's `ln_post`, on every token."""
        return self.clip.visual.ln_post(tokens)

    def project_image(self, tokens: Float[Tensor, "*B Dv"]) -> Float[Tensor, "*B E"]:
        """CLIP's own image projection."""
        return tokens @ self.clip.visual.proj


def _tower(transformer: Any) -> Tower:
    return Tower(int(transformer.width), int(transformer.layers), int(transformer.resblocks[0].attn.num_heads))


def run_block(
    block: ResidualAttentionBlock,
    tokens: Float[Tensor, "items L D"],
    *,
    causal: bool = False,
    surgery: Surgery = "none",
) -> Float[Tensor, "items L D"]:
    """Run the block; only the attention weights depend on `surgery`.

    "tokens": softmax(V V^T / sqrt(d)) over the tokens of one item. "batch": the same over the items at each position,
    as the published code computes it on a layout that it takes for batch-first (method: section 9, row 1).
    """
    normed = block.ln_1(tokens)
    if surgery == "batch":
        update = attention(block.attn, normed.transpose(0, 1), values_only=True).transpose(0, 1)
    else:
        update = attention(block.attn, normed, causal=causal, values_only=surgery == "tokens")
    tokens = tokens + block.ls_1(update)
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


def attention(
    layer: nn.MultiheadAttention, tokens: Float[Tensor, "items L D"], *, causal: bool = False, values_only: bool = False
) -> Float[Tensor, "items L D"]:
    """Self-attention with the layer's weights by torch's fused kernels; `values_only` puts V in place of Q and K."""
    weight, bias = layer.in_proj_weight, layer.in_proj_bias
    if values_only:
        start = 2 * layer.embed_dim
        values = _split(linear(tokens, weight[start:], bias[start:]), layer.num_heads)
        attended = scaled_dot_product_attention(values, values, values)
    else:
        query, key, value = (_split(part, layer.num_heads) for part in linear(tokens, weight, bias).chunk(3, dim=-1))
        attended = scaled_dot_product_attention(query, key, value, is_causal=causal)
    return layer.out_proj(attended.transpose(1, 2).flatten(2))


def _split(projected: Float[Tensor, "items L D"], heads: int) -> Float[Tensor, "items heads L head_width"]:
    items, length, _ = projected.shape
    return projected.reshape(items, length, heads, -1).transpose(1, 2)


class QuickGELU(nn.Module):
    """`silu(1.702 x) / 1.702`, which keeps its input alone for the backward pass."""

    def forward(self, x: Float[Tensor, "*items D"]) -> Float[Tensor, "*items D"]:
        """Apply it to every number."""
        return _QuickGELU.apply(x)


class _QuickGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return silu(x * SLOPE, inplace=True).div_(SLOPE)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient, x * SLOPE)
