"""What a run has found so far and where it stands, as something that can be written down and taken up again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contracts.options import TowerName
from ..evaluation.calibration import Calibration
from ..report.examples import Examples, LoopOutcome
from ..training.adapter_watch import AdapterWatch

Metrics = dict[str, Any]


@dataclass
class RunState:
    """Everything about a run that is neither a weight nor a random state.

    The run stands in `loop` (from 1), where `phase` phases are done, and `step` steps of the next one; where no phase
    is left, the loop's evaluation is next.
    """

    examples: Examples
    watch: AdapterWatch
    metrics: Metrics = field(default_factory=dict)
    curves: dict[int, Metrics] = field(default_factory=dict)
    calibrations: dict[int, Calibration] = field(default_factory=dict)
    validations: list[dict[str, float | None]] = field(default_factory=list)
    """Mean metrics of the validation images after each finished loop."""
    attending: frozenset[TowerName] = frozenset()
    """Towers whose stages with a context acted when the tower last trained."""
    skipped: int = 0
    """Steps that were left out since their numbers were not finite."""
    loop: int = 1
    phase: int = 0
    step: int = 0

    def stand(self, loop: int, phase: int, step: int) -> None:
        """Say where the run stands."""
        self.loop, self.phase, self.step = loop, phase, step

    def plain(self) -> dict[str, Any]:
        """All of it but arrays, as JSON holds it."""
        return {
            "metrics": self.metrics,
            "curves": list(self.curves.items()),
            "calibrations": [(loop, asdict(calibration)) for loop, calibration in self.calibrations.items()],
            "validations": self.validations,
            "attending": sorted(self.attending),
            "warned": self.watch.warned,
            "skipped": self.skipped,
            "at": (self.loop, self.phase, self.step),
            "cases": [(one.loop, one.scores, one.quality) for one in self.examples.loops],
        }

    def arrays(self) -> dict[str, Tensor]:
        """The maps that are kept of each loop's cases."""
        kept = [one for one in self.examples.loops if one.grids]
        return {str(one.loop): torch.from_numpy(np.stack(one.grids)) for one in kept}

    def restore(self, plain: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> None:
        """Take up what `plain` and `arrays` gave."""
        self.metrics, self.validations = dict(plain["metrics"]), list(plain["validations"])
        self.curves = dict(plain["curves"])
        self.calibrations = {loop: Calibration(**calibration) for loop, calibration in plain["calibrations"]}
        self.attending = frozenset(plain["attending"])
        self.watch.warned, self.skipped = plain["warned"], plain["skipped"]
        self.stand(*plain["at"])
        self.examples.loops = [
            LoopOutcome(loop, list(arrays[str(loop)].numpy()) if scores else [], scores, quality)
            for loop, scores, quality in plain["cases"]
        ]
