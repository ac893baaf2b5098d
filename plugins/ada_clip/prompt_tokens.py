"""Prompt tokens of both towers: static ones, which are learnt, plus dynamic ones, which are made of the image."""

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aaclip_kit import AttentionStage, Backbone, Context, FixedWords, PromptSetting, StageSetting, UserError, text_tower

from . import PromptOptions, VisionOptions

STD: Final = 0.02
PUBLISHED: Final = "clip_model."


class PromptTokens(nn.Module):
    """Static tokens for each place, to which dynamic ones are added: linear layers of the class embedding, one a token.

    The dynamic ones are the same at every place.
    """

    def __init__(self, options: PromptOptions | VisionOptions, places: int, embedding_width: int, width: int) -> None:
        super().__init__()
        self.rounded, length = options.rounding == "half", options.length
        self.static = nn.ParameterList(nn.Parameter(STD * torch.randn(length, width)) for _ in range(places))
        self.dynamic = nn.ModuleList(nn.Linear(embedding_width, width) for _ in range(length))

    def forward(self, place: int, embedding: Float[Tensor, "items E"], like: Tensor) -> Float[Tensor, "items n D"]:
        """Return the tokens of a place for each item's class embedding, in the precision of `like`."""
        made = torch.stack([layer(embedding) for layer in self.dynamic], dim=1) + self.static[place]
        return (made.half() if self.rounded else made).to(like.dtype)

    def published_names(self, tower: str) -> dict[str, str]:
        """Return the published key of each parameter, by its name in the module that has this one as `tokens`."""
        kinds = {"static": f"{tower}_prompter.static_prompts", "dynamic": f"dynamic_{tower}_prompt_generator.head"}
        parts = [(name, *name.split(".", 1)) for name, _ in self.named_parameters()]
        return {f"tokens.{name}": f"{PUBLISHED}{kinds[kind]}.{rest}" for name, kind, rest in parts}


class AdaClipPrompts(FixedWords):
    """States in templates, whose first words give way to prompt tokens before text blocks 1 to `depth` - 1.

    The static tokens of block 0 are never used; published files have them. Raises `UserError` for a depth that the
    tower lacks, and where the tokens would cover a prompt's end.
    """

    conditioned_from = 1

    def __init__(self, options: PromptOptions, setting: PromptSetting) -> None:
        super().__init__(options.normal, options.abnormal, options.templates)
        self.depth, self.length, backbone = options.depth, options.length, setting.backbone
        if self.depth > (most := text_tower(backbone).depth):
            problem = f"{self.depth} blocks of prompt tokens in a text tower of {most}"
            raise UserError(problem, where="prompts.depth", fix=f"choose 2 to {most}")
        self._check_length(backbone)
        with setting.drawn("tokens"):
            self.tokens = PromptTokens(options, self.depth, backbone.embedding_width, text_tower(backbone).width)

    def _check_length(self, backbone: Backbone) -> None:
        """No name is shorter than one of one letter."""
        words = self.prompts("x")
        ends = backbone.end_of_text(backbone.tokenize(words))
        if not ends.is_meta and (shortest := int(ends.min())) <= self.length:
            problem = f'{self.length} prompt tokens would cover the end of "{words[int(ends.argmin())]}"'
            raise UserError(problem, where="prompts.length", fix=f"choose 1 to {shortest - 1}, or longer templates")

    def prompts(self, real_name: str) -> Sequence[str]:
        """Every state in every template, with a blank for each hyphen of the name."""
        return super().prompts(real_name.replace("-", " "))

    def before_block(
        self, block: int, tokens: Float[Tensor, "items L Dt"], image: Float[Tensor, "items E"] | None
    ) -> Float[Tensor, "items L Dt"]:
        """The block's prompt tokens behind the start of text, in place of the words there."""
        if image is None or block >= self.depth:
            return tokens
        made = self.tokens(block, image, tokens)
        return torch.cat([tokens[:, :1], made, tokens[:, 1 + self.length :]], dim=1)

    def published_names(self) -> dict[str, str]:
        """Keys of AdaCLIP's checkpoints."""
        return self.tokens.published_names("text")


class AdaClipStage(AttentionStage):
    """Appends prompt tokens behind the patches at its first site, and puts that site's in their place at later ones."""

    context_kind = "class"
    one_for_all_sites = True

    def __init__(self, options: VisionOptions, setting: StageSetting) -> None:
        super().__init__()
        self.sites, self.inserts = sorted(options.after), options.length
        self.tokens = PromptTokens(options, len(self.sites), setting.image_context_width, setting.width)

    def forward(
        self, tokens: Float[Tensor, "items L D"], context: Context | None, *, site: int = 0
    ) -> Float[Tensor, "items more D"]:
        """Return the tokens with this site's prompt tokens last."""
        assert context is not None
        place = self.sites.index(site)
        made = self.tokens(place, context.expanded(len(tokens)).tokens[:, 0], tokens)
        return torch.cat([tokens[:, : -self.inserts] if place else tokens, made], dim=1)

    def published_names(self) -> dict[str, str]:
        """Keys of AdaCLIP's checkpoints."""
        return self.tokens.published_names("visual")
