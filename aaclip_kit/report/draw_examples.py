"""Pictures of a run: images for the rules, and what the report shows of the test images."""

import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Final

import numpy as np
import torch

from ..contracts.data import Sample
from ..contracts.options import TowerName
from ..data.decode import read_picture_and_mask
from ..data.loader import Pixels, test_batches
from ..model.anomaly_model import AnomalyModel
from ..record.examples_file import Example, ExamplesFile
from ..record.heatmap import enlarged, save_heatmap
from ..record.run_folder import RunFolder
from .attention_maps import Shown, attention_record
from .examples import RULE, Examples

CASE_SIDE: Final = 256
"""Largest side of a case's picture in the run folder, in pixels."""


def save_pictures(
    examples: Examples,
    quoted: int,
    folder: RunFolder,
    *,
    model: AnomalyModel,
    pixels: Pixels,
    real_names: Mapping[str, str],
    attending: Set[TowerName],
) -> None:
    """Write heatmaps, cases and where the stages look; nothing where no loop was scored or nothing is to be drawn."""
    if not examples.loops or not examples.samples:
        return
    places = _chosen(examples, quoted)
    scale = examples.scale()
    _save_heatmaps(examples, examples.even(), scale, pixels.size, folder.heatmaps)
    _examples_file(examples, places, quoted, scale, min(CASE_SIDE, pixels.size)).write(folder.examples)
    shown = [
        _shown(examples.samples[place], number, pixels, real_names, model.device)
        for number, (place, chosen) in enumerate(places.items())
        if any(reason.endswith("anomalous") for reason in chosen)
    ]
    folder.write_attention(attention_record(model, shown, attending))


def _chosen(examples: Examples, quoted: int) -> dict[int, list[str]]:
    """Each image that is shown, and why: the evenly spread ones first, then those that the ranking adds."""
    chosen: dict[int, list[str]] = {place: ["even"] for place in examples.even()}
    for reason, place in examples.ranked(quoted).items():
        chosen.setdefault(place, []).append(reason)
    return chosen


def _examples_file(
    examples: Examples, places: dict[int, list[str]], quoted: int, scale: tuple[float, float], side: int
) -> ExamplesFile:
    pictures, masks = zip(*(read_picture_and_mask(examples.samples[place], side) for place in places), strict=True)
    return ExamplesFile(
        examples=tuple(_example(examples, place, chosen) for place, chosen in places.items()),
        loops=tuple(outcome.loop for outcome in examples.loops),
        scale=scale,
        rule=f"on loop {quoted}, {RULE}",
        pictures=np.stack(pictures),
        masks=np.stack([np.zeros((side, side), bool) if mask is None else mask for mask in masks]),
        grids=np.stack([[outcome.grids[place] for outcome in examples.loops] for place in places]),
    )


def _example(examples: Examples, place: int, chosen: list[str]) -> Example:
    sample = examples.samples[place]
    quality = tuple(outcome.quality[place] for outcome in examples.loops)
    scores = tuple(outcome.scores[place] for outcome in examples.loops)
    masked = sample.mask is not None or not sample.label
    return Example(
        sample.class_name, sample.image.name, sample.label, sample.defect, masked, tuple(chosen), quality, scores
    )


def _save_heatmaps(examples: Examples, places: list[int], scale: tuple[float, float], size: int, folder: Path) -> None:
    """Draw the last loop's map of each image."""
    for number, place in enumerate(places):
        sample = examples.samples[place]
        kind = sample.defect or ("anomalous" if sample.label else "normal")
        name = "_".join(_plain(part) for part in (sample.class_name, kind, sample.image.stem))
        picture, mask = read_picture_and_mask(sample, size)
        outlined = mask if sample.mask else None
        values = enlarged(examples.loops[-1].grids[place], size)
        save_heatmap(folder / f"{number:02d}_{name}.png", picture, outlined, values, scale)


def _shown(sample: Sample, number: int, pixels: Pixels, real_names: Mapping[str, str], device: torch.device) -> Shown:
    batch = next(test_batches((sample,), pixels, 1)).to(device)
    mask = batch.masks[0, 0].cpu().numpy() > 0
    return Shown(number, batch.images, sample.class_name, real_names[sample.class_name], mask)


def _plain(name: str) -> str:
    """A class of a manifest may be called anything; a file may not."""
    return re.sub(r"[^\w.-]+", "-", name)[:60]
