"""Predictions as files: scores.jsonl, and a heatmap and a mask an image, all of them or none."""

import json
import shutil
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from os.path import commonpath
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from ..checkpoints.stored_thresholds import Thresholds
from ..contracts.data import DataSet, Domain, Sample
from ..contracts.errors import UserError, not_writable, writing
from ..data.decode import Decoded, page_of, pages_of
from ..data.manifests import Listed
from ..distributed.collectives import Lost, all_gather_object, barrier
from ..record.heatmap import coloured
from ..record.run_folder import check_elsewhere
from .load_model import UNNAMED, Prediction, TrainedModel

SCORES, SKIPPED, HEATMAPS, MASKS = "scores.jsonl", "skipped.jsonl", "heatmaps", "masks"

REACH = 0.1
"""Difference of cosines from the middle of the heatmaps' colour scale to either end."""

_WRITERS: Final = 4
"""Pictures written at once; drawing and packing leave the interpreter to the scoring."""

_MOST_WAITING: Final = 16
"""Images whose pictures are still to be written: the map of one of 100 megapixels takes 0.4 GB."""

Sizes = list[tuple[int, int]]


def check_free(out: Path) -> None:
    """Raise `UserError` unless the folder is new or empty, and not the one that the command is run in."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError("is not an empty folder", where=str(out), fix="name a new or an empty folder with --out")
    check_elsewhere(out)


def as_data(
    model: TrainedModel,
    listed: Sequence[Listed],
    decoded: Decoded,
    *,
    class_name: str | None,
    real_name: str | None,
    domain: Domain,
) -> tuple[DataSet, Sizes, list[UserError]]:
    """The sound ones of the images as a data set, their sizes (width, height), and a fault for each other one.

    Their class is the one given, else the list's, else "object"; `decoded` holds them until they are scored. Of several
    ranks, each reads its share.
    """
    ranks = model.evaluator.ranks
    samples = tuple(
        Sample(page, class_name or item.class_name or UNNAMED, 0)
        for item in ranks.own(listed)
        for page in pages_of(item.image)
    )
    scan = model.scan(DataSet(samples, {}, domain), decoded)
    pairs, faults = zip(*all_gather_object(ranks, (scan.pairs, scan.faults)), strict=True)
    sound = [pair for part in pairs for pair in part]
    data = DataSet(tuple(sample for sample, _ in sound), {}, domain)
    names = {name: real_name or model.real_name(name) for name in data.classes}
    return replace(data, real_names=names), [facts.size for _, facts in sound], [one for part in faults for one in part]


def write_predictions(
    model: TrainedModel,
    data: DataSet,
    sizes: Sizes,
    thresholds: Thresholds,
    *,
    decoded: Decoded,
    faults: Sequence[UserError],
    out: Path,
) -> Counter[str]:
    """Score the images and write a folder beside `out` that takes its place when it is whole.

    Returns how many images were decided as what. Raises `UserError` where the folder cannot be written. Of several
    ranks, each draws the pictures of its share, and the first writes the rest.
    """
    ranks, beside = model.evaluator.ranks, out.with_name(out.name + ".part")
    names = file_names([sample.image for sample in data.samples])
    if ranks.is_first:
        with writing(beside):
            beside.mkdir(parents=True)
    try:
        if ranks.is_first:
            for place in (HEATMAPS,) if thresholds.map is None else (HEATMAPS, MASKS):
                for parent in {name.parent for name in names.values()}:
                    (beside / place / parent).mkdir(parents=True, exist_ok=True)
        barrier(ranks)
        if not beside.is_dir():
            fix = "give --out a folder that all processes share"
            raise UserError(f"process {ranks.rank} does not see it", where=str(beside), fix=fix)
        own = _draw(model.predictions(data, sizes, thresholds, decoded), names, len(model.model.levels), beside)
        lines = {image: line for part in all_gather_object(ranks, own) for image, line in part.items()}
        if ranks.is_first:
            classes = {sample.image: sample.class_name for sample in data.samples}
            _write_lines(beside / SCORES, ({"class": name, **lines[image]} for image, name in classes.items()))
            if faults:
                skipped = ({"path": fault.where, "problem": fault.problem} for fault in faults)
                _write_lines(beside / SKIPPED, skipped)
            beside.replace(out)
        return Counter(line["decision"] or "undecided" for line in lines.values())
    except OSError as error:
        if not ranks.is_first and not beside.exists():
            raise Lost("the first process has removed it", where=str(beside), fix="look at what it said") from error
        raise not_writable(out, error) from None
    finally:
        if ranks.is_first:
            _remove(beside)


def file_names(images: Sequence[Path]) -> dict[Path, Path]:
    """A name of its own for each image's pictures: its place below the folder that all are in, ending in .png.

    Where two would have one name, a number is added; upper and lower case are one, as some file systems have it.
    """
    whole = {image: image.resolve() for image in images}
    root = Path(commonpath([path.parent for path in whole.values()])) if whole else Path()
    names: dict[Path, Path] = {}
    taken: set[str] = set()
    for image, path in whole.items():
        first = name = path.relative_to(root).with_suffix(f"{path.suffix if page_of(path)[1] else ''}.png")
        number = 2
        while str(name).casefold() in taken:
            name, number = first.with_stem(f"{first.stem}_{number}"), number + 1
        taken.add(str(name).casefold())
        names[image] = name
    return names


def heat_colours(
    anomaly_map: Float32[np.ndarray, "H W"], threshold: float | None, levels: int
) -> UInt8[np.ndarray, "H W 3"]:
    """A map as colours, the scale's middle at the threshold, or where normal and abnormal are alike without one.

    The scale is the same for every image: it ends where the cosines to normal and abnormal differ by `REACH` more, or
    less, than at the middle, in the mean over the levels.
    """
    middle, reach = levels / 2 if threshold is None else threshold, 50 * REACH * levels
    return coloured(anomaly_map, (middle - reach, middle + reach))


def _remove(folder: Path) -> None:
    """Remove a folder that other ranks may still write into: they find it no more once it has another name."""
    gone = folder.with_name(f"{folder.name}.gone")
    with suppress(OSError):
        folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _draw(
    predictions: Iterable[Prediction], names: dict[Path, Path], levels: int, folder: Path
) -> dict[Path, dict[str, Any]]:
    """Score, and write pictures beside it, so that neither waits for the other; the line of each image."""
    lines: dict[Path, dict[str, Any]] = {}
    waiting: deque[tuple[Path, Future[dict[str, Any]]]] = deque()
    with ThreadPoolExecutor(_WRITERS) as pool:
        for prediction in predictions:
            waiting.append((prediction.path, pool.submit(_line, prediction, names[prediction.path], levels, folder)))
            while len(waiting) > _MOST_WAITING:
                image, line = waiting.popleft()
                lines[image] = line.result()
        lines.update((image, line.result()) for image, line in waiting)
    return lines


def _line(prediction: Prediction, name: Path, levels: int, folder: Path) -> dict[str, Any]:
    """Write an image's heatmap and, with a threshold, its mask; its line says where they are."""
    pictures = {"heatmap": (HEATMAPS, heat_colours(prediction.anomaly_map, prediction.map_threshold, levels))}
    if prediction.mask is not None:
        pictures["mask"] = (MASKS, prediction.mask.astype(np.uint8) * 255)
    for place, pixels in pictures.values():
        Image.fromarray(pixels).save(folder / place / name)
    return {
        "path": str(prediction.path),
        "score": prediction.pred_score,
        "threshold": prediction.threshold,
        "decision": prediction.decision,
        "largest_map_value": prediction.max_value,
        "map_threshold": prediction.map_threshold,
        **{what: (Path(place) / name).as_posix() for what, (place, _) in pictures.items()},
    }


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
