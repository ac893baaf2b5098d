"""open_clip's CLIP behind the backbone contract: its towers, its blocks with V-V attention, OpenAI's activation."""

from collections.abc import Sequence
from functools import cache
from math import isqrt
from textwrap import shorten
from typing import Any, Final

import open_clip
import torch
from jaxtyping import Float, Int
from open_clip import CLIP, SimpleTokenizer
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from aaclip_kit import Backbone, Surgery, Tower, UserError

from . import OpenClipOptions
from .source import Source, find_source, unsupported
from .weights import load_weights, quiet

_SURGERY_SHARE = 19 / 24
_RANDOM_SEED = 0
_VOCABULARY = 49408

SLOPE = 1.702

MOST_PATCHES: Final = 1 << 14
"""Patches of an image: sixteen times those of the published size."""

_tokenizer = cache(SimpleTokenizer)
"""By its context length: reading the vocabulary takes most of a second, copying it with a backbone as long."""


class OpenClipBackbone(Backbone):
    """A frozen CLIP with vision-transformer image tower; no parameter takes a gradient, and dropout never acts.

    Random weights ("none") are the same in every process. Raises `UserError` for a model, a size or weights that
    cannot be.
    """

    def __init__(self, options: OpenClipOptions) -> None:
        super().__init__()
        source = find_source(options)
        config = _checked_config(source, options)
        self.clip = _build(config)
        if source.weights is not None:
            load_weights(self.clip, source.weights)
        self.clip.requires_grad_(False)
        self.image_mean, self.image_std = source.mean, source.std
        self.vision, self.text = _tower(self.clip.visual.transformer), _tower(self.clip.transformer)
        self.embedding_width = int(config["embed_dim"])
        self.image_size = int(config["vision_cfg"]["image_size"])
        self.grid = int(self.clip.visual.grid_size[0])
        self.context_length = int(self.clip.context_length)
        super().train(False)
        depth, blocks = self.vision.depth, options.surgery_blocks
        if blocks is not None and blocks > depth:
            problem = f"{blocks} blocks of surgery in a tower of {depth}"
            raise UserError(problem, where="backbone.surgery_blocks", fix=f"choose 0 to {depth}")
        self.surgery_start = depth - (round(depth * _SURGERY_SHARE) if blocks is None else blocks)

    def train(self, mode: bool = True) -> "OpenClipBackbone":
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
        return self.clip.token_embedding(tokens) + self.clip.positional_embedding[: tokens.shape[1]]

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

    def finish_vision(self, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B V Dv"]:
        """CLIP's `ln_post`, on every token."""
        return self.clip.visual.ln_post(tokens)

    def project_image(self, tokens: Float[Tensor, "*B Dv"]) -> Float[Tensor, "*B E"]:
        """CLIP's own image projection."""
        return tokens @ self.clip.visual.proj


def _tower(transformer: Any) -> Tower:
    return Tower(int(transformer.width), int(transformer.layers), int(transformer.resblocks[0].attn.num_heads))


def _checked_config(source: Source, options: OpenClipOptions) -> dict[str, Any]:
    """The configuration with image size and activation put in. Raises `UserError` where the model cannot be walked."""
    config = source.config
    if odd := unsupported(config):
        problem = f"{options.model} is not a plain vision-transformer CLIP ({', '.join(odd[:4])})"
        fix = "choose a model such as ViT-B-32, ViT-B-16, ViT-L-14, ViT-L-14-336, ViT-H-14 or embedded"
        raise UserError(problem, where="backbone.model", fix=fix)
    vocabulary = config.get("text_cfg", {}).get("vocab_size", _VOCABULARY)
    if vocabulary != _VOCABULARY:
        problem = f"a vocabulary of {vocabulary} tokens, where CLIP's tokenizer has {_VOCABULARY}"
        raise UserError(problem, where="backbone.model", fix="choose a model with CLIP's own tokenizer")
    quick = {"gelu": False, "quick_gelu": True, "auto": source.quick_gelu}[options.activation]
    if quick is None:
        problem = f"weights of {options.model} exist with both activations, and a file does not say which it needs"
        fix = 'set it to "quick_gelu" for OpenAI\'s weights, or to what the file was trained with'
        raise UserError(problem, where="backbone.activation", fix=fix)
    vision = {"image_size": 224, "patch_size": 16, **config.get("vision_cfg", {})}
    vision["image_size"] = options.image_size or vision["image_size"]
    patch = vision["patch_size"]
    if vision["image_size"] % patch:
        near = max(patch, round(vision["image_size"] / patch) * patch)
        problem = f"{vision['image_size']} pixels are not a whole number of patches of {patch}"
        raise UserError(problem, where="backbone.image_size", fix=f"the nearest size is {near}")
    if (vision["image_size"] // patch) ** 2 > MOST_PATCHES:
        problem = f"{vision['image_size']} pixels are {(vision['image_size'] // patch) ** 2:,} patches of {patch}"
        fix = f"give at most {isqrt(MOST_PATCHES) * patch}: beyond that, attention takes hours an image"
        raise UserError(problem, where="backbone.image_size", fix=fix)
    return {**config, "quick_gelu": quick, "vision_cfg": vision}


def _build(config: dict[str, Any]) -> Any:
    # Building draws random weights; the run's own random stream must not depend on the backbone.
    try:
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(_RANDOM_SEED)
            model = CLIP(**config)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, AssertionError, RuntimeError) as error:
        raise UserError(f"open_clip cannot build this model: {error}", where="backbone.model") from None
    for name, module in list(model.named_modules()):
        if type(module) is open_clip.transformer.QuickGELU:
            model.set_submodule(name, QuickGELU())
    return model


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
