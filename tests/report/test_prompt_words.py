"""Words of a prompt by token position, with the tokenizer alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit import Backbone
from aaclip_kit.report.attention_maps import END, START, prompt_words

from ..build import build


@pytest.fixture
def backbone(small_experiment: Path) -> Backbone:
    return build(small_experiment).model.backbone


def test_each_token_has_its_word_and_padding_has_none(backbone: Backbone) -> None:
    found = prompt_words(backbone, "a photo of a red cloth.", 12)
    assert found == [START, "a", "photo", "of", "a", "red", "cloth", ".", END, None, None, None]


def test_a_word_of_several_tokens_has_them_all(backbone: Backbone) -> None:
    prompt = "a terrazzo-like Fryum with flaw."
    found = prompt_words(backbone, prompt, 77)
    end = int(backbone.end_of_text(backbone.tokenize([prompt]))[0])
    assert found.index(END) == end
    assert found.count("terrazzo") > 1
    assert [word for place, word in enumerate(found[1:end], 1) if word != found[place - 1]] == [
        "a", "terrazzo", "-", "like", "Fryum", "with", "flaw", ".",
    ]  # fmt: skip


def test_a_prompt_is_cut_where_asked(backbone: Backbone) -> None:
    assert prompt_words(backbone, "the cloth.", 3) == [START, "the", "cloth"]
