"""Which word each token of a prompt belongs to, found with the backbone's tokenizer alone."""

import re

from ..contracts.backbone import Backbone

START, END = "(start)", "(end)"


def prompt_words(backbone: Backbone, prompt: str, length: int) -> list[str | None]:
    """The word at each of the first `length` token positions: START and END mark both ends, None what lies after.

    A word's tokens are those by which the prompt grows when the word is added, so a tokenizer that cuts words into
    pieces is followed exactly, and one that joins words gives the pair to the second.
    """
    pieces = list(re.finditer(r"\w+|[^\w\s]", prompt))
    prefixes = ["", *(prompt[: piece.end()] for piece in pieces)]
    ends = backbone.end_of_text(backbone.tokenize(prefixes)).tolist()
    words: list[str | None] = [START] * ends[0]
    for piece, end in zip(pieces, ends[1:], strict=True):
        words += [piece.group()] * (end - len(words))
    words.append(END)
    return (words + [None] * length)[:length]
