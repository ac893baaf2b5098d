"""The backbone `timm`: a plain vision transformer of timm's behind the backbone contract, walked block by block."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from aaclip_kit import Backbone, Surgery, Tower, UserError

from . import TimmOptions
from .model import build


class TimmBackbone(Backbone):
    """A frozen vision transformer of timm's, without text; no parameter takes a gradient, no dropout acts.

    Random weights ("none") are the same in every process. Registers stand between the class token and the patches.
    Raises `UserError` for a model, a size or weights that cannot be.
    """

    rope: Tensor | None

    def __init__(self, options: TimmOptions) -> None:
        super().__init__()
        self.vit = vit = build(options)
        self.vision, self.text = Tower(vit.embed_dim, len(vit.blocks), vit.blocks[0].attn.num_heads), None
        self.embedding_width, self.prefix_tokens = self.vision.width, int(vit.num_prefix_tokens)
        self.image_size, self.grid = int(vit.patch_embed.img_size[0]), int(vit.patch_embed.grid_size[0])
        self.image_mean, self.image_std = (tuple(vit.pretrained_cfg[key]) for key in ("mean", "std"))
        self.surgery_start = self.vision.depth - options.surgery_blocks
        rope = getattr(vit, "rope", None)
        turns = None if rope is None else rope.get_embed(shape=[self.grid, self.grid])
        self.register_buffer("rope", turns, persistent=False)
        self.requires_grad_(False).train(False)

    def train(self, mode: bool = True) -> "TimmBackbone":
        """Stay in evaluation mode: a frozen backbone has no other."""
        return super().train(False)

    def embed_image(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B V Dv"]:
        """Class token, registers and patch tokens, positions added where the model has them here and not in its blocks.

        The tokens keep the weights' precision under autocast, so that rounding does not pile up along the blocks.
        """
        vit = self.vit
        patches = vit.patch_embed(images).flatten(1, -2).to(vit.cls_token.dtype)
        prefix = [token.expand(len(images), -1, -1) for token in (vit.cls_token, vit.reg_token) if token is not None]
        if vit.pos_embed is not None and vit.no_embed_class:
            patches = patches + vit.pos_embed
        tokens = torch.cat([*prefix, patches], dim=1)
        if vit.pos_embed is not None and not vit.no_embed_class:
            tokens = tokens + vit.pos_embed
        return vit.norm_pre(tokens)

    def vision_block(
        self, index: int, tokens: Float[Tensor, "B V Dv"], surgery: Surgery = "none"
    ) -> Float[Tensor, "B V Dv"]:
        """Vision block `index`, with its own attention or with V-V attention in its place."""
        block = self.vit.blocks[index]
        if surgery == "none":
            return block(tokens) if self.rope is None else block(tokens, rope=self._turns(self.rope, tokens))
        if surgery == "batch":
            tokens = tokens + self.value_attention(index, tokens.transpose(0, 1)).transpose(0, 1)
        else:
            tokens = tokens + self.value_attention(index, tokens)
        return tokens + _scaled(block, 2, block.mlp(block.norm2(tokens)))

    def value_attention(self, index: int, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B V Dv"]:
        """What the block's attention would add with V-V weights."""
        block = self.vit.blocks[index]
        return _scaled(block, 1, _values_attention(block.attn, block.norm1(tokens)))

    def _turns(self, rope: Float[Tensor, "N turns"], tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "more turns"]:
        """How each token behind the prefix is turned: a patch by its place, what stages insert behind them not at all.

        Raises `UserError` for windows of patches, whose places the tokens do not tell.
        """
        more = tokens.shape[1] - self.prefix_tokens - len(rope)
        if more < 0:
            problem = "the blocks of this backbone turn every patch by its place, so that windows have none"
            raise UserError(problem, where="backbone.model", fix="choose DINOv2, or a head that reads no windows")
        sine, cosine = rope.new_zeros(more, rope.shape[1] // 2), rope.new_ones(more, rope.shape[1] // 2)
        return torch.cat([rope, torch.cat([sine, cosine], dim=1)])

    def finish_vision(self, tokens: Float[Tensor, "B V Dv"]) -> Float[Tensor, "B V Dv"]:
        """The norm after the last block, on every token."""
        return self.vit.norm(tokens)

    def project_image(self, tokens: Float[Tensor, "*B Dv"]) -> Float[Tensor, "*B E"]:
        """The tokens as they are: there is no projection."""
        return tokens

    def rule_features(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N Dv"]:
        """The normed patch tokens of the last block, which say more of what a patch is than of where.

        AnomalyDINO (Damm et al., WACV 2025) compares patches of DINOv2 by them, wherever in an image they are.
        """
        tokens = self.embed_image(images)
        for index in range(self.vision.depth):
            tokens = self.vision_block(index, tokens)
        return self.finish_vision(tokens)[:, self.prefix_tokens :]


def _values_attention(layer: Any, tokens: Float[Tensor, "items L D"]) -> Float[Tensor, "items L D"]:
    """Self-attention with V in the place of Q and K; positions, which turn those two alone, play no part."""
    values = _values(layer, tokens).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
    attended = scaled_dot_product_attention(values, values, values)
    return layer.proj(layer.norm(attended.transpose(1, 2).flatten(2)))


def _values(layer: Any, tokens: Float[Tensor, "items L D"]) -> Float[Tensor, "items L inner"]:
    if layer.qkv is None:
        return layer.v_proj(tokens)
    fused = layer.qkv.bias
    bias = getattr(layer, "v_bias", None) if fused is None else fused.chunk(3)[2]
    return linear(tokens, layer.qkv.weight.chunk(3)[2], bias)


def _scaled(block: Any, number: Literal[1, 2], update: Float[Tensor, "items L D"]) -> Float[Tensor, "items L D"]:
    """The update as the block's layer scale lets it through, a layer in a VisionTransformer and a vector in an Eva."""
    if isinstance(block, Block):
        return getattr(block, f"ls{number}")(update)
    gamma = getattr(block, f"gamma_{number}")
    return update if gamma is None else gamma * update
