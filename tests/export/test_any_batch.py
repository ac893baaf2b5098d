"""A module that counts its images as a graph for any number of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from aaclip_kit import UserError
from aaclip_kit.export.any_batch import for_any_batch


class Stranger(nn.Module):
    """Counts images with `len`, makes a constant of as many rows, and computes outside of autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        count = len(images)
        tokens = images.flatten(2).mean(dim=2).reshape(count, 1, 3).expand(count, 4, 3)
        rows = torch.tensor([1] * count)
        with torch.autocast("cpu", enabled=False):
            weighed = tokens @ self.weight.T
        doubled = torch.cat([weighed, weighed]).reshape(2 * count, 4, 2)[: count + 1]
        return doubled[:count].flatten(1) + self.weight.sum(dim=1).index_select(0, rows)[:, None]


@pytest.mark.parametrize("images", [1, 2, 5])
def test_a_module_that_counts_its_images_takes_any_number(images: int) -> None:
    module, given = Stranger(), torch.rand(images, 3, 8, 8)
    with torch.no_grad():
        graph = for_any_batch(module, 8)
        assert torch.equal(graph(given), module(given))


def _by_images(images: Tensor) -> Tensor:
    return torch.stack([image.mean() for image in images])


def _by_count(images: Tensor) -> Tensor:
    return images.mean(dim=(1, 2, 3)) * (1.5 if len(images) > 2 else 2.5)


def _different_rows(images: Tensor) -> Tensor:
    return images.mean(dim=(1, 2, 3)) + torch.tensor([float(place) for place in range(len(images))])


@pytest.mark.parametrize("function", [_by_images, _by_count, _different_rows])
def test_what_hangs_on_the_number_of_images_is_refused_with_its_line(function: Callable[[Tensor], Tensor]) -> None:
    class Module(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return function(images)

    with pytest.raises(UserError, match="depends on how many images"), torch.no_grad():
        for_any_batch(Module(), 8)
