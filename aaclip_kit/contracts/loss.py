"""The loss contract: named predictions and targets in, named terms out."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

LossInput = Literal["level_probabilities", "text_features", "detection_logits", "masks", "labels"]


class Loss(nn.Module, ABC):
    """One objective. The engine passes what `needs` names as keyword arguments, adds the weighted terms and logs each.

    - `level_probabilities`: dict of level number to `[B, 2, S, S]`, softmax over (normal, abnormal)
    - `text_features`: `[B, E, 2]`, unit columns (normal, abnormal)
    - `detection_logits`: `[B, 2]`, detection feature times text feature
    - `masks`: `[B, 1, S, S]`, 1 where anomalous; `labels`: `[B]` integers, 1 for an anomalous image

    Where a pixel is to be left out (`ignore` in a table of [data]), its mask is 0 and its probabilities are constants
    that agree with it.

    `over_batch` says what a batch's terms are made of, for processes that share a batch (docs/guide/many-devices.md).
    With "mean" they are means over the images of what each image gives by itself, so each process computes its own
    images'. With "joint", which is right for every loss, each process is given what all of them predict.
    """

    needs: ClassVar[tuple[LossInput, ...]]
    over_batch: ClassVar[Literal["mean", "joint"]] = "joint"

    @abstractmethod
    def forward(self, *args: Any, **named: Any) -> dict[str, Tensor]:
        """Return scalar terms by name; the objective is their sum."""
