"""A memo of what a frozen module makes of images: those that come again as they were are not walked again."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

MOST: Final = 192 * 2**20
"""Bytes of features that are kept: a thousand images of 112 pixels, and fewer that are larger."""

Walk = Callable[[Float[Tensor, "b 3 S S"]], Float[Tensor, "b C G G"]]


class Memo:
    """Features by what they are made of: an image's bytes, its type, autocast. Other weights make it begin anew.

    Those used longest ago go first. Threads may share it; a copy of it is empty.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most, self.held = most, 0
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()
        self._weights: tuple[Tensor, ...] = ()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Memo, (self.most,)

    def features(
        self, images: Float[Tensor, "B 3 S S"], weights: Sequence[Tensor], walk: Walk, *, keep: bool
    ) -> list[Float[Tensor, "C G G"]]:
        """Those of each image; `walk` makes what is missing, by these weights alone, of each image by itself.

        They are not to be changed in place. With `keep` off, what `walk` makes is not kept.
        """
        keys = [_key(image) for image in images]
        epoch, found = self._find(keys, weights)
        lacking = {key: place for place, key in enumerate(keys) if key not in found}
        if lacking:
            made = walk(images[list(lacking.values())])
            for key, one in zip(lacking, made, strict=True):
                # A copy, since a part of a batch would keep the whole batch in memory.
                found[key] = one.detach().clone()
                if keep:
                    self._keep(key, found[key], epoch)
        return [found[key] for key in keys]

    def _find(self, keys: Sequence[bytes], weights: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], dict[bytes, Tensor]]:
        """The weights that what is kept was made by, and what is there."""
        with self._lock:
            if not _same(weights, self._weights):
                self._features.clear()
                self.held, self._weights = 0, tuple(one.detach().clone() for one in weights)
            found = {key: self._features[key] for key in keys if key in self._features}
            for key in found:
                self._features.move_to_end(key)
            return self._weights, found

    def _keep(self, key: bytes, one: Tensor, weights: tuple[Tensor, ...]) -> None:
        with self._lock:
            if weights is not self._weights or key in self._features:
                return
            self._features[key] = one
            self.held += one.nbytes
            while self.held > self.most:
                self.held -= self._features.popitem(last=False)[1].nbytes


def may_keep(images: Tensor) -> bool:
    """Whether images may come again: not in a training step, whose augmentation makes each anew.

    On a GPU the look at their bytes would cost more than it saves; tensors without values have no bytes.
    """
    return type(images) is Tensor and images.device.type == "cpu" and not torch.is_grad_enabled()


def _key(image: Tensor) -> bytes:
    autocast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    digest = hashlib.blake2b(f"{image.dtype} {tuple(image.shape)} {autocast}".encode(), digest_size=16)
    digest.update(image.contiguous().view(torch.uint8).numpy().data)
    return digest.digest()


def _same(weights: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether they are the same numbers: a look at each costs less than a thousandth of walking an image."""
    return len(weights) == len(others) and all(
        one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
        for one, other in zip(weights, others, strict=True)
    )
