"""The prompts of a run's classes as tokens."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from ..contracts.backbone import Backbone
from ..contracts.data import MOST_LETTERS
from ..contracts.errors import UserError
from ..contracts.prompts import Prompts


@dataclass(frozen=True)
class PromptBook:
    """Tokens of every class of a run, and the position of each prompt's end-of-text token."""

    rows: Mapping[str, int]
    texts: tuple[tuple[str, ...], ...]
    """The prompts of each class in words."""
    tokens: Int[Tensor, "K P T"]
    ends: Int[Tensor, "K P"]
    lengths: tuple[int, ...]
    """Tokens of each class up to its last end-of-text: plain numbers, so that nothing waits for a tensor."""

    @classmethod
    def of(cls, backbone: Backbone, prompts: Prompts, real_names: Mapping[str, str]) -> "PromptBook":
        """Tokenise the prompts of each class. Raises `UserError` for a name that no prompt can use."""
        texts, tokens = [], []
        for name, real_name in real_names.items():
            where = f"real_names.{name}"
            _check_name(name, real_name, where)
            try:
                texts.append(tuple(prompts.prompts(real_name)))
                tokens.append(backbone.tokenize(texts[-1]))
            except UserError as fault:
                raise UserError(fault.problem, where=fault.where or where, fix=fault.fix) from None
        stacked = torch.stack(tokens)
        ends = torch.stack([backbone.end_of_text(part) for part in tokens])
        # On the meta device, where a model is built without weights, there is no token to look at.
        lengths = tuple(stacked.shape[-1] if part.is_meta else int(part.max()) + 1 for part in ends)
        return cls({name: row for row, name in enumerate(real_names)}, tuple(texts), stacked, ends, lengths)

    def alike(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """For each class the first of all that has the same prompts: such classes are walked once."""
        first: dict[tuple[str, ...], str] = {}
        for name, row in self.rows.items():
            first.setdefault(self.texts[row], name)
        return tuple(first[self.texts[self.rows[name]]] for name in classes)

    def select(self, classes: tuple[str, ...], device: torch.device) -> tuple[Tensor, Tensor]:
        """Tokens `[K, P, L]`, cut after the last end-of-text (exact: text attention is causal), and ends `[K, P]`."""
        rows = [self.rows[name] for name in classes]
        index, length = torch.tensor(rows), max(self.lengths[row] for row in rows)
        return self.tokens[index, :, :length].to(device), self.ends[index].to(device)


def _check_name(name: str, real_name: str, where: str) -> None:
    if not any(letter.isalnum() for letter in real_name):
        problem = f"class '{name}' has the real name {real_name!r}, which no prompt can use"
        raise UserError(problem, where=where, fix="give it words in real_names, such as 'metal nut'")
    if len(real_name) > MOST_LETTERS:
        problem = f"class '{name}' has a real name of {len(real_name):,} characters"
        raise UserError(problem, where=where, fix=f"give it one of at most {MOST_LETTERS}")
