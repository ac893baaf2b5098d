"""A model of normal photographs alone: their memory, and thresholds chosen by leaving each of them out in turn."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from ..checkpoints.bank_file import reference_name, write_banks
from ..checkpoints.checkpoint import save
from ..checkpoints.provenance import Metadata, Provenance
from ..contracts.data import Sample
from ..contracts.errors import UserError, writing
from ..contracts.head import Scores
from ..data.decoded import Decoded
from ..data.loader import Pixels
from ..distributed.available_memory import available_memory
from ..distributed.compute_device import ComputeDevice
from ..distributed.ranks import ALONE
from ..evaluation.calibration import Tiles, one_by_one
from ..evaluation.evaluator import Evaluator
from ..evaluation.leave_one_out import LeftOut, leave_one_out
from ..evaluation.references import cost
from ..experiment import Experiment, checked, resolved_toml
from ..experiment.check import check
from ..files.whole_file import whole_folder
from ..model.build import build_model
from ..plugin_host.registry import Registry
from ..record.run_folder import BANK
from .good_photographs import Chosen, PhotographScores, scored
from .load_model import UNNAMED
from .photographs import Photographs, read_photographs
from .tiled import Tiled, as_wholes

_PROBED: Final = 8
"""Images in the bank that tells what many take."""

_COPIES: Final = 3
"""Of what is remembered of a tile: what was read, the bank, and what is being compared."""

MODEL: Final = "model.safetensors"
"""The checkpoint in the folder of a taught model, beside its bank."""


def taught_experiment(tables: dict[str, Any], good: Path, overrides: Sequence[str], registry: Registry) -> Experiment:
    """Check the experiment of a taught model, whose data are the good images. Raises `UserError`."""
    place = {"use": "folder", "root": str(good.absolute())}
    tables = {**tables, "data": {role: dict(place) for role in ("train", "test", "reference")}}
    return checked(tables, overrides, lambda tables: check(tables, registry, "teach.toml"))


class Teacher:
    """Reads photographs and makes a model of them; writes it when everything is known.

    `before_each` is called for each image, and before anything is written; what it raises ends the teaching.
    """

    def __init__(
        self,
        experiment: Experiment,
        real_name: str | None,
        tiles: Tiles | None = None,
        before_each: Callable[[], None] = lambda: None,
    ) -> None:
        file, self.experiment, self.real_name = experiment.file, experiment, real_name or UNNAMED
        self.tiles = tiles
        self.before_each = before_each
        device = ComputeDevice.choose(file.device, file.precision)
        self.model = build_model(experiment, {UNNAMED: self.real_name}).to(device.device).requires_grad_(False)
        pixels = Pixels.of(self.model.backbone)
        self.evaluator = one_by_one(Evaluator.of(self.model, device, pixels, file, ranks=ALONE))

    def read(self, folder: Path, label: int) -> Photographs:
        """Read a folder of images."""
        size = self.evaluator.pixels.size
        decoded = Decoded(once=True) if self.tiles is None else Tiled(self.tiles, size)
        return read_photographs(
            folder, label, class_name=UNNAMED, real_name=self.real_name, domain="industrial", size=size,
            decoded=decoded, before_each=self.before_each,
        )  # fmt: skip

    def expected_seconds(self, good: Photographs) -> float:
        """Roughly how long `learn` compares tiles with one another on this machine's processor; 0 for whole images.

        Raises `UserError` for more than there is memory for.
        """
        if self.tiles is None:
            return 0.0
        assert self.model.reference is not None
        count = len(good.parts.samples)
        held, seconds = cost(self.model.reference, self.model.backbone, _PROBED)
        needed, available = _COPIES * count * held // _PROBED, available_memory(torch.device("cpu"))
        if needed > available:
            problem = f"{count:,} tiles take about {needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free"
            fix = "ask for fewer tiles along the shorter side, give fewer photographs, or --set reference.coreset=0.1"
            raise UserError(problem, where=str(good.folder), fix=fix)
        return count * count * seconds / _PROBED

    def learn(self, good: Photographs) -> LeftOut:
        """Remember good images, or their tiles, two images at least, and score each by the others.

        Raises `UserError` for others.
        """
        evaluator = replace(self.evaluator, pixels=replace(self.evaluator.pixels, decoded=good.decoded))
        try:
            learnt = leave_one_out(
                evaluator, good.parts, frozenset(), trained=False, whole_of=good.decoded.whole_of,
                scored=partial(self._scored, good), before_each=self.before_each,
            )  # fmt: skip
        except UserError as fault:
            where = fault.where or str(good.folder)
            raise UserError(fault.problem, where=where, fix=fault.fix) from fault.__cause__
        assert learnt.evaluator.references is not None
        references = replace(learnt.evaluator.references, pixels=tuple(sorted(good.pixels)))
        return replace(learnt, evaluator=replace(learnt.evaluator, references=references))

    def _scored(self, good: Photographs, samples: Sequence[Sample], scores: Scores) -> tuple[float, float]:
        own = (scores.maps, scores.detection, self.evaluator.image_scores(scores), scores.map_peak)
        rows = zip(samples, *(part.cpu().numpy() for part in own), strict=True)
        (found,) = as_wholes(rows, self.evaluator, good.decoded, good.size_of)
        return found.score, found.peak

    def scores(self, learnt: LeftOut, photographs: Photographs) -> PhotographScores:
        """Score other photographs by what is remembered."""
        return scored(learnt.evaluator, photographs, self.before_each)

    def write(self, out: Path, learnt: LeftOut, chosen: Chosen) -> None:
        """Write the model's folder, whole or not at all. Raises `UserError` where it cannot be."""
        references = learnt.evaluator.references
        assert references is not None and self.model.reference is not None
        names = {UNNAMED: self.real_name}
        about = Provenance(self.experiment.file.name, 0, attending=(), real_names=names, reference_tiles=self.tiles)
        calibration = replace(chosen.calibration, tiles=self.tiles)
        metadata = Metadata(about, resolved_toml(self.experiment), calibration, normal_scores=references.normal)
        self.before_each()
        with writing(out), whole_folder(out) as part:
            save(self.model, part / MODEL, metadata)
            write_banks(part / BANK, references, self.model.reference, reference_name(self.experiment))
