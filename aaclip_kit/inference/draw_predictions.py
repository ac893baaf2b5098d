"""Predictions drawn as they are made: a heatmap and a mask an image, and its line of scores."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ..files.whole_file import beside
from ..record.heatmap import coloured
from .prediction import Prediction
from .regions import Region
from .results_folder import HEATMAPS, MASKS, Line

_WRITERS: Final = 4
"""Pictures written at once; drawing and packing leave the interpreter to the scoring."""

_MOST_WAITING: Final = 16
"""Images whose pictures are still to be written: the map of one of 100 megapixels takes 0.4 GB."""

MOST_REGIONS: Final = 100
"""Regions of an image that its line names, those of the largest values."""

AT_THRESHOLD: Final = 0.3
"""Share of the heatmaps' colours, from the dark end, that lies below the threshold: a normal image is dark."""


def heat_scale(threshold: float | None, shown: tuple[float, float]) -> tuple[float, float]:
    """Map values of the darkest and the brightest colour, the same for every image.

    They are half the head's scale apart, of which `AT_THRESHOLD` lies below the threshold, so that a normal image is
    dark; without a threshold they are the head's own.
    """
    if threshold is None:
        return shown
    span = (shown[1] - shown[0]) / 2
    return threshold - AT_THRESHOLD * span, threshold + (1 - AT_THRESHOLD) * span


def draw(
    predictions: Iterable[Prediction],
    names: Mapping[tuple[Path, str], Path],
    shown: tuple[float, float],
    folder: Path,
    before_each: Callable[[], None],
) -> dict[tuple[Path, str], Line]:
    """Score, and write pictures beside it, so that neither waits for the other; the line of each image."""
    lines: dict[tuple[Path, str], Line] = {}
    waiting: deque[tuple[tuple[Path, str], Future[Line]]] = deque()
    with ThreadPoolExecutor(_WRITERS) as pool:
        for prediction in predictions:
            before_each()
            key = prediction.path, prediction.class_name
            waiting.append((key, pool.submit(_line, prediction, names[key], shown, folder)))
            while len(waiting) > _MOST_WAITING:
                first, line = waiting.popleft()
                lines[first] = line.result()
        lines.update((key, line.result()) for key, line in waiting)
    return lines


def _line(prediction: Prediction, name: Path, shown: tuple[float, float], folder: Path) -> Line:
    """Write an image's heatmap and, with a threshold, its mask; its line says where they are."""
    places = {"heatmap": HEATMAPS, "mask": MASKS}
    pictures = pictures_of(prediction, shown)
    for what, pixels in pictures.items():
        _save(pixels, folder / places[what] / name)
    return {
        "path": str(prediction.path),
        "class": prediction.class_name,
        **facts_of(prediction),
        **{what: (Path(places[what]) / name).as_posix() for what in pictures},
    }


def pictures_of(prediction: Prediction, shown: tuple[float, float]) -> dict[str, UInt8[np.ndarray, "H W *C"]]:
    """Return an image's heatmap, in the colours of `heat_scale`, and with a threshold its mask, white where masked."""
    scale, looked_at = heat_scale(prediction.map_threshold, shown), prediction.looked_at
    values = prediction.anomaly_map
    pictures = {"heatmap": coloured(values if looked_at is None else np.where(looked_at, values, scale[0]), scale)}
    if prediction.mask is not None:
        pictures["mask"] = prediction.mask.astype(np.uint8) * 255
    return pictures


def facts_of(prediction: Prediction) -> Line:
    """Return what is said of an image: its score, the decision and how certain it is, and the regions of its mask."""
    regions = prediction.regions
    return {
        "score": four_digits(prediction.pred_score),
        "decision": prediction.decision,
        "good_above": four_digits(prediction.good_above),
        "threshold": four_digits(prediction.threshold),
        "largest_map_value": four_digits(prediction.max_value),
        "map_threshold": four_digits(prediction.map_threshold),
        "disagreement": _disagreement(prediction),
        "region_count": None if regions is None else len(regions),
        "regions": None if regions is None else list(map(_region, regions[:MOST_REGIONS])),
    }


def _region(region: Region) -> dict[str, Any]:
    return {"box": region.box, "area": region.area, "largest": four_digits(region.largest)}


def four_digits(value: float | None) -> float | None:
    """Round to four significant digits: more say nothing of an image."""
    return None if value is None else float(f"{value:.4g}")


def _save(pixels: UInt8[np.ndarray, "H W *C"], path: Path) -> None:
    part = beside(path)
    Image.fromarray(pixels).save(part, "PNG")
    part.replace(path)


def _disagreement(prediction: Prediction) -> str | None:
    """Why a decision and its mask say different things, where they do."""
    if prediction.mask is None or prediction.map_threshold is None:
        return None
    masked, decision = int(prediction.mask.sum()), prediction.decision
    reached = prediction.max_value >= prediction.map_threshold
    why = "the image's threshold and the map's are chosen apart"
    if decision == "normal" and masked:
        why = why if reached else "the map has other values at the photograph's size than at the model's"
        return f"decided normal, and {masked} pixels are masked: {why}"
    if decision == "anomalous" and not masked:
        why = "each of its regions has fewer pixels than the least area" if reached else why
        return f"decided anomalous, and no pixel is masked: {why}"
    return None
