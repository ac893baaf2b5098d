"""The tokenizer and the text tower."""

from __future__ import annotations

import torch

from ...contracts.backbone import Backbone
from ...contracts.errors import UserError
from ..check import Found
from ..subject import Subject
from .given import NEAR, PROMPTS, apart, build, walk_text


def tokenizer_pads_with_zeros(subject: Subject) -> None:
    """Two prompts of different lengths, and one that is too long."""
    backbone = build(subject)
    numbers, ends = backbone.tokenize(PROMPTS), backbone.end_of_text(backbone.tokenize(PROMPTS))
    if numbers.is_floating_point():
        raise Found(f"tokenize gives numbers of type {numbers.dtype}")
    if torch.equal(*numbers):
        raise Found("two different prompts have the same tokens")
    for prompt, row, end in zip(PROMPTS, numbers, ends.tolist(), strict=True):
        if not 0 < end < len(row):
            raise Found(f'end_of_text gives {end} for "{prompt}"')
        if row[end + 1 :].any() or not row[: end + 1].any():
            raise Found(f'"{prompt}" has tokens other than 0 after its end-of-text token, at {end}')
        if row[end] == 0:
            raise Found(f'end_of_text gives {end} for "{prompt}", where there is padding')
    _refuses_long(backbone)


def _refuses_long(backbone: Backbone) -> None:
    # Every word is one token at least.
    prompt = " ".join(["cloth"] * (backbone.context_length + 1))
    try:
        backbone.tokenize([prompt])
    except UserError:
        return
    except Exception as error:
        raise Found(f"a prompt that is too long raised {type(error).__name__}, not UserError: {error}") from error
    raise Found(f"a prompt of {backbone.context_length + 1} words was accepted")


def text_is_causal(subject: Subject) -> None:
    """Cut after the last end-of-text token; replace a later token; leave a prompt out."""
    backbone = build(subject)
    numbers = backbone.tokenize(PROMPTS)
    ends = backbone.end_of_text(numbers)
    whole = walk_text(backbone, numbers)
    length = int(ends.max()) + 1
    if (difference := apart(walk_text(backbone, numbers[:, :length]), whole[:, :length])) > NEAR:
        raise Found(f"cut after {length} tokens, their features change by {difference:.2g} of the largest")
    other = numbers.clone()
    middle = int(ends.min()) - 1
    other[:, middle] = numbers[:, 0]
    if (difference := apart(walk_text(backbone, other)[:, :middle], whole[:, :middle])) > NEAR:
        raise Found(f"with another token {middle}, those before it change by {difference:.2g} of the largest")
    if (difference := apart(walk_text(backbone, numbers[:1]), whole[:1])) > NEAR:
        raise Found(f"without the second prompt, the first changes by {difference:.2g} of the largest")
