from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from aaclip_kit import Backbone
from aaclip_kit.cache import keys
from aaclip_kit.cache.keys import backbone_identity, view_key
from aaclip_kit.contracts.backbone import Tower

FACTS = {"levels": [2, 4], "precision": "fp32", "device": "cpu"}


class Plain(Backbone):
    """Weights, a buffer that no checkpoint holds, and a module without weights; it is not walked here."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.vision = self.text = Tower(4, 2, 1)
        self.embedding_width, self.image_size, self.grid, self.context_length = 4, 8, 2, 5
        self.image_mean = self.image_std = (0.5, 0.5, 0.5)
        self.surgery_start = 1
        self.line = nn.Linear(3, 4)
        self.line.weight.data = torch.arange(12.0).reshape(4, 3)
        self.line.bias.data = torch.zeros(4)
        self.narrow = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)
        self.activation = activation or nn.GELU()

    def _not_walked(self, *given: Any, **named: Any) -> Any:
        raise NotImplementedError

    tokenize = end_of_text = embed_text = text_block = finish_text = project_text = _not_walked
    embed_image = vision_block = finish_vision = project_image = _not_walked


def changed(change: Callable[[Any], object]) -> Plain:
    backbone = Plain()
    change(backbone)
    return backbone


def weight_bit(backbone: Plain) -> None:
    backbone.line.weight.data[3, 2] = torch.nextafter(torch.tensor(11.0), torch.tensor(12.0))


CHANGES: dict[str, Callable[[Any], object]] = {
    "one bit of a weight": weight_bit,
    "a half-precision weight": lambda b: b.narrow.data.mul_(2),
    "a buffer that is not saved": lambda b: b.scale.fill_(3.0),
    "type of a weight": lambda b: setattr(b.line.bias, "data", b.line.bias.data.double()),
    "shape of a weight": lambda b: setattr(b.line.weight, "data", b.line.weight.data.reshape(3, 4)),
    "activation": lambda b: setattr(b, "activation", nn.GELU(approximate="tanh")),
    "image size": lambda b: setattr(b, "image_size", 16),
    "heads": lambda b: setattr(b, "vision", Tower(4, 2, 2)),
    "mean": lambda b: setattr(b, "image_mean", (0.5, 0.5, 0.4)),
    "std": lambda b: setattr(b, "image_std", (0.5, 0.5, 0.4)),
    "surgery": lambda b: setattr(b, "surgery_start", 0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_everything_of_the_backbone_counts(change: Callable[[Any], object]) -> None:
    assert backbone_identity(changed(change), FACTS) != backbone_identity(Plain(), FACTS)


def test_facts_the_version_of_the_format_and_that_of_torch_count(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {backbone_identity(Plain(), FACTS), backbone_identity(Plain(), {**FACTS, "precision": "bf16"})}
    monkeypatch.setattr(keys, "FORMAT", 999)
    found.add(backbone_identity(Plain(), FACTS))
    monkeypatch.setattr(torch, "__version__", "0.0")
    found.add(backbone_identity(Plain(), FACTS))
    assert len(found) == 4


@pytest.mark.slow
def test_the_same_backbone_has_the_same_identity_in_another_process() -> None:
    class Printed(nn.Module):
        def extra_repr(self) -> str:
            return repr(lambda: None)  # its address is another for each object

    assert backbone_identity(Plain(Printed()), FACTS) == backbone_identity(
        Plain(Printed()), dict(reversed(FACTS.items()))
    )
    code = "from tests.cache.test_keys import *; print(backbone_identity(Plain(), FACTS))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.stdout.strip() == backbone_identity(Plain(), FACTS), ran.stderr


def test_the_key_of_a_view_is_stable_and_pinned() -> None:
    assert view_key("ab" * 32, [111, 2, 0.5, "geometry"]) == PINNED


PINNED = "b63fe2270980a4892343ada7b525868194c2959e87645f2b050f9db076656768"


def test_every_part_of_a_view_counts_and_its_place() -> None:
    numbers: list[list[int | float | str]] = [[], [1], [1.5], [1, 2], [2, 1], [12], [0.3], [0.1 + 0.2]]
    texts: list[list[int | float | str]] = [["1"], ["a", "b"], ["ab"], ["a, b"], ['a", "b']]
    views = numbers + texts
    distinct = {view_key("content", view) for view in views}
    assert len(distinct) == len(views)
    assert view_key("other", []) not in distinct
