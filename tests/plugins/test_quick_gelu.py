"""The activation of OpenAI's weights against its formula, gradients and memory included."""

from __future__ import annotations

import torch
from aaclip_kit_plugins.clip import QuickGELU
from aaclip_kit_plugins.open_clip import OpenClipOptions
from aaclip_kit_plugins.open_clip.backbone import OpenClipBackbone
from open_clip.transformer import QuickGELU as Theirs
from torch import Tensor

from ..helpers import assert_close


def values(dtype: torch.dtype) -> Tensor:
    drawn = 4 * torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([drawn, torch.tensor([0.0, -100.0, 100.0]).expand(3, 5, 3)], dim=-1).to(dtype).requires_grad_()


def test_value_and_gradient_are_those_of_the_formula() -> None:
    x = values(torch.float64)
    assert_close(QuickGELU()(x), x * torch.sigmoid(1.702 * x), rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(QuickGELU(), x)


def test_single_precision_is_as_near_as_open_clips() -> None:
    x, exact = values(torch.float32), values(torch.float64)
    assert_close(QuickGELU()(x), Theirs()(exact).float())
    gradients = [torch.autograd.grad(module(of).sum(), of)[0] for module, of in ((QuickGELU(), x), (Theirs(), exact))]
    assert_close(gradients[0], gradients[1].float())


def test_only_the_input_is_kept() -> None:
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    x = values(torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        QuickGELU()(x)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr()]


def test_the_backbone_uses_it_where_the_weights_need_it() -> None:
    for activation, count in (("quick_gelu", 24), ("gelu", 0)):
        backbone = OpenClipBackbone(OpenClipOptions(model="ViT-B-32", activation=activation, pretrained="none"))
        found = [module for module in backbone.modules() if isinstance(module, (QuickGELU, Theirs))]
        assert len(found) == count and not any(isinstance(module, Theirs) for module in found)
