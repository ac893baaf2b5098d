"""Learnt prompts: tokens of their own before the words, and again in later blocks of the text tower."""

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aaclip_kit import Backbone, Prompts, PromptSetting, UserError, text_tower, unit

from . import LearntOptions

STD: Final = 0.02
PLACEHOLDER: Final = "X"
"""A word of one token, for each learnt one."""

DEEP_SHARE: Final = 0.75


class Learnt(Prompts):
    """One normal and one abnormal prompt of a class, which share their learnt tokens with those of other classes.

    Both have `tokens` learnt embeddings behind the start of text, to which the backbone's positions are added. Before
    each later block below `depth`, the first `deep_tokens` of them are thrown away for that block's own, which are the
    same for both prompts and have no positions. Parameters have the shapes that they have in published files.

    Raises `UserError` for more blocks than the tower has, or more tokens than its context length.
    """

    normal_prompts = 1
    published_unused = (
        "prompt_learner.compound_prompt_projections.*", "prompt_learner.token_*", "prompt_learner.tokenized_prompts_*",
    )  # fmt: skip

    def __init__(self, options: LearntOptions, setting: PromptSetting) -> None:
        super().__init__()
        self.options, tower = options, text_tower(setting.backbone)
        depth = max(1, round(DEEP_SHARE * tower.depth)) if options.depth is None else options.depth
        if depth > tower.depth:
            problem = f"{depth} text blocks of learnt tokens, where the tower has {tower.depth}"
            raise UserError(problem, where="prompts.depth", fix=f"choose 1 to {tower.depth}")
        self._check_length(setting.backbone)
        self.normal = self._drawn(setting, "normal", 1, 1, options.tokens)
        self.abnormal = self._drawn(setting, "abnormal", 1, 1, options.tokens)
        self.deep = nn.ParameterList(
            self._drawn(setting, f"deep.{block}", options.deep_tokens) for block in range(depth - 1)
        )

    def _check_length(self, backbone: Backbone) -> None:
        room = backbone.context_length
        try:
            backbone.tokenize(self.prompts("object"))
        except UserError:
            problem = f"{self.options.tokens} learnt tokens and the words behind them exceed {room} tokens"
            raise UserError(problem, where="prompts.tokens", fix="choose fewer tokens, or shorter words") from None

    @staticmethod
    def _drawn(setting: PromptSetting, name: str, *shape: int) -> nn.Parameter:
        with setting.drawn(name):
            return nn.Parameter(STD * torch.randn(*shape, text_tower(setting.backbone).width))

    def prompts(self, real_name: str) -> Sequence[str]:
        """The normal and the abnormal prompt, with a placeholder for each learnt token."""
        name = real_name if self.options.name == "class" else "object"
        learnt = " ".join([PLACEHOLDER] * self.options.tokens)
        return [f"{learnt} {words.replace('{}', name)}" for words in (self.options.normal, self.options.abnormal)]

    def embed(self, backbone: Backbone, tokens: Int[Tensor, "items L"]) -> Float[Tensor, "items L Dt"]:
        """The backbone's own embedding, with the learnt tokens, positions added, in place of the placeholders."""
        words, end = backbone.embed_text(tokens), 1 + self.options.tokens
        learnt = torch.cat([self.normal, self.abnormal]).flatten(0, 1) + backbone.text_positions(end)[1:]
        return torch.cat([words[:, :1], learnt.repeat(len(words) // 2, 1, 1), words[:, end:]], dim=1)

    def before_block(
        self, block: int, tokens: Float[Tensor, "items L Dt"], image: Float[Tensor, "items E"] | None
    ) -> Float[Tensor, "items L Dt"]:
        """The block's own deep tokens in place of the first ones, up to the depth."""
        if not 0 < block <= len(self.deep):
            return tokens
        # Each item's copy is rounded by itself, so that its gradient is too, before they are added up.
        deep = self.deep[block - 1].expand(len(tokens), -1, -1)
        deep = deep.half() if self.options.deep_rounding == "half" else deep
        return torch.cat([tokens[:, :1], deep.to(tokens.dtype), tokens[:, 1 + deep.shape[1] :]], dim=1)

    def combine(self, features: Float[Tensor, "K 2 E"]) -> Float[Tensor, "K E 2"]:
        """Both prompts' features, divided by their norms."""
        return unit(features).transpose(1, 2)

    def published_names(self) -> dict[str, str]:
        """Keys of AnomalyCLIP's checkpoints; prompts with a class's name in them have none."""
        if self.options.name == "class":
            return {}
        names = {"normal": "ctx_pos", "abnormal": "ctx_neg"}
        names |= {f"deep.{place}": f"compound_prompts_text.{place}" for place in range(len(self.deep))}
        return {own: f"prompt_learner.{key}" for own, key in names.items()}
