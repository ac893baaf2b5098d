"""The losses of a phase: what each is given, its weight, and the terms that come back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from ..contracts.head import Head
from ..contracts.loss import Loss, LossInput
from ..contracts.schedule import Trains
from ..distributed.collectives import WHOLE_BATCH, BatchShard
from ..distributed.random_streams import own_draws
from ..model.plugin_faults import component_of, run_loss


@dataclass
class WeightedLosses:
    """The losses of one phase by the experiment file's names, with their weights."""

    losses: dict[str, tuple[Loss, float]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """The plugin that each loss is of."""

    @property
    def needs(self) -> set[str]:
        """Names of everything that any of them asks for."""
        return {name for loss, _ in self.losses.values() for name in loss.needs}

    def __call__(
        self, named: dict[str, Tensor | dict[int, Tensor]], shard: BatchShard = WHOLE_BATCH
    ) -> dict[str, Tensor]:
        """Weighted terms, named LOSS/TERM; of several ranks, those whose gradients add up to the whole batch's."""
        terms = {}
        for name, (loss, weight) in self.losses.items():
            where = f"loss {name} {component_of(loss, self.owners.get(name, ''))}"
            given: Mapping[str, Tensor | dict[int, Tensor]] = {key: named[key] for key in loss.needs}
            if loss.over_batch == "mean":
                weight *= shard.weight
            else:
                given = {key: _gathered(value, shard) for key, value in given.items()}
            with own_draws("loss", name):
                of_loss = run_loss(loss, given, where)
            terms.update({f"{name}/{term}": weight * value for term, value in of_loss.items()})
        return terms

    def addends(self, terms: dict[str, Tensor], shard: BatchShard) -> dict[str, Tensor]:
        """Terms to be added up over the ranks, for the report: every rank has those of a joint loss whole."""
        if not shard.shared or shard.ranks.is_first:
            return terms
        joint = tuple(f"{name}/" for name, (loss, _) in self.losses.items() if loss.over_batch == "joint")
        return {name: torch.zeros_like(term) if name.startswith(joint) else term for name, term in terms.items()}


TARGETS: Final[frozenset[LossInput]] = frozenset({"masks", "labels"})


def made_by(head: Head) -> frozenset[LossInput]:
    """What losses can ask for with a head."""
    return head.makes | TARGETS | (frozenset({"text_features"}) if head.needs_text else frozenset())


def trained_by(trains: Trains) -> frozenset[LossInput]:
    """What depends on what a phase trains, of all that losses can ask for."""
    depends: frozenset[LossInput] = frozenset({"level_probabilities", "detection_logits"})
    return depends if trains == "vision" else depends | {"text_features"}


def total(terms: dict[str, Tensor]) -> Tensor:
    """The objective: the sum of all terms, in float32."""
    return torch.stack([value.float() for value in terms.values()]).sum()


def _gathered(value: Tensor | dict[int, Tensor], shard: BatchShard) -> Tensor | dict[int, Tensor]:
    if isinstance(value, dict):
        return {level: shard.gathered(part) for level, part in value.items()}
    return shard.gathered(value)
