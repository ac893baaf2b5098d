"""Predictions as files: scores.jsonl, and a heatmap and a mask an image, all of them or none."""

import json
import os
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, count
from os.path import commonpath
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from ..checkpoints.stored_thresholds import Thresholds
from ..contracts.data import DataSet, Domain, Sample
from ..contracts.errors import UserError, not_writable, writing
from ..data.checks import previews
from ..data.decoded import Decoded
from ..data.image_file import page_of
from ..data.manifests import Listed
from ..data.scan import FileFacts
from ..distributed.collectives import Lost, all_gather_object, barrier
from ..distributed.ranks import Ranks
from ..files.lock import LOCK, locked
from ..files.whole_file import beside, is_leftover, remove_leftovers, remove_whole
from ..record.heatmap import coloured
from ..record.run_folder import made_folder
from .load_model import UNNAMED, Prediction, TrainedModel

SCORES, SKIPPED, HEATMAPS, MASKS = "scores.jsonl", "skipped.jsonl", "heatmaps", "masks"

_WRITERS: Final = 4
"""Pictures written at once; drawing and packing leave the interpreter to the scoring."""

_MOST_WAITING: Final = 16
"""Images whose pictures are still to be written: the map of one of 100 megapixels takes 0.4 GB."""

_LONGEST: Final = 255
"""Bytes of the longest name that file systems have."""

Sizes = list[tuple[int, int]]
Line = dict[str, Any]
Key = tuple[Path, str]
"""An image and the class that it is looked at as."""


@contextmanager
def claimed_results(out: Path, ranks: Ranks) -> Iterator[Path]:
    """The folder that `out` is, or leads to as a link: made, and the first rank's own until the block ends.

    What a command that died has left in it is removed. Raises `UserError` unless it is new or empty, and where another
    command works in it.
    """
    with writing(out):
        whole = Path(os.path.realpath(out)) if out.is_symlink() else out
    if not ranks.is_first:
        yield whole
        return
    _check_empty(whole)
    with made_folder(whole, whole.name), locked(whole):
        _check_empty(whole)  # another command may have ended meanwhile
        remove_leftovers(whole)
        yield whole
        (whole / LOCK).unlink()


def _check_empty(folder: Path) -> None:
    """Raise `UserError` for a file, and for a folder that holds more than the leftovers of a command that died."""
    fix = "name a new or an empty folder with --out"
    with writing(folder, fix):
        if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and all(map(_is_left, folder.iterdir())))):
            raise UserError("is not an empty folder", where=str(folder), fix=fix)


def _is_left(path: Path) -> bool:
    return is_leftover(path) or (path.name == LOCK and path.lstat().st_size == 0)


def as_data(
    model: TrainedModel,
    listed: Sequence[Listed],
    decoded: Decoded,
    *,
    class_name: str | None,
    real_name: str | None,
    domain: Domain,
    before_each: Callable[[], None],
) -> tuple[DataSet, Sizes, list[UserError], list[str]]:
    """The sound ones of the images as a data set, their sizes (width, height), a fault for each other one, and remarks.

    Their class is the one given, else the list's, else "object"; `decoded` holds them until they are scored. Of several
    ranks, each reads its share. `before_each` is called for each image, by several threads.
    """
    ranks = model.evaluator.ranks
    named = dict.fromkeys((item.image, class_name or item.class_name or UNNAMED) for item in listed)
    samples = tuple(Sample(image, name, 0) for image, name in ranks.own(tuple(named)))
    scan = model.scan(DataSet(samples, {}, domain), decoded, each_page=True, before_each=before_each)
    pairs, faults = zip(*all_gather_object(ranks, (scan.pairs, scan.faults)), strict=True)
    sound = [pair for part in pairs for pair in part]
    data = DataSet(tuple(sample for sample, _ in sound), {}, domain)
    names = {name: real_name or model.real_name(name) for name in data.classes}
    sizes = [facts.size for _, facts in sound]
    remarks = [*previews(sound), *_remembered(model, sound)]
    return replace(data, real_names=names), sizes, [one for part in faults for one in part], remarks


def _remembered(model: TrainedModel, sound: Sequence[tuple[Sample, FileFacts]]) -> list[str]:
    """Say where images are of those that the model remembers, whose scores say nothing of new ones."""
    references = model.evaluator.references
    known = {digest for of in references.images.values() for digest in of} if references else set()
    if not (seen := [sample.image for sample, facts in sound if facts.image in known]):
        return []
    return [
        f"{len(seen)} of the images are remembered by the model, which finds them too normal; the first is {seen[0]}"
    ]


def write_predictions(
    model: TrainedModel,
    data: DataSet,
    sizes: Sizes,
    thresholds: Thresholds,
    *,
    decoded: Decoded,
    faults: Sequence[UserError],
    out: Path,
    before_each: Callable[[], None],
) -> list[Line]:
    """Score the images and write them into a folder in `out`, of which they come when they are whole.

    Returns the lines of `scores.jsonl`, which comes last. Raises `UserError` where the folder cannot be written, as far
    as can be known before anything is scored. Of several ranks, each draws the pictures of its share, and the first
    writes the rest. `before_each` is called before each image.
    """
    ranks = model.evaluator.ranks
    part = all_gather_object(ranks, beside(out / "results"))[0]
    keys = [(sample.image, sample.class_name) for sample in data.samples]
    names = dict(zip(keys, file_names([image for image, _ in keys]), strict=True))
    try:
        if ranks.is_first:
            part.mkdir()
            for place in (HEATMAPS,) if thresholds.map is None else (HEATMAPS, MASKS):
                for name in names.values():
                    (part / place / name).parent.mkdir(parents=True, exist_ok=True)
                    (part / place / name).touch(exist_ok=False)
        barrier(ranks)
        if not part.is_dir():
            fix = "give --out a folder that all processes share"
            raise UserError(f"process {ranks.rank} does not see it", where=str(part), fix=fix)
        predictions = model.predictions(data, sizes, thresholds, decoded)
        own = _draw(predictions, names, model.model.shown, part, before_each)
        found = {key: line for share in all_gather_object(ranks, own) for key, line in share.items()}
        lines = [{"class": key[1], **found[key]} for key in keys]
        if ranks.is_first:
            _write_lines(part / SCORES, lines)
            if faults:
                skipped = ({"path": fault.where, "problem": fault.problem} for fault in faults)
                _write_lines(part / SKIPPED, skipped)
            before_each()
            for made in (HEATMAPS, MASKS, SKIPPED, SCORES):
                if (part / made).exists():
                    (part / made).rename(out / made)
        return lines
    except OSError as error:
        if not ranks.is_first and not part.exists():
            raise Lost("the first process has removed it", where=str(part), fix="look at what it said") from error
        raise not_writable(out, error) from None
    finally:
        if ranks.is_first:
            remove_whole(part)


def file_names(images: Sequence[Path]) -> list[Path]:
    """A name of its own for each image's pictures: its place below the folder that all are in, ending in .png.

    Links are not followed. Where two would have one name, or one that of a folder, a number is added; upper and lower
    case are one, as some file systems have it. What would be too long for a file system loses its end.
    """
    whole = [Path(os.path.abspath(image)) for image in images]  # noqa: PTH100 - keeps links
    root = Path(commonpath([path.parent for path in whole])) if whole else Path()
    places = [path.relative_to(root) for path in whole]
    taken = {_folded(folder) for place in places for folder in place.parents}
    names: list[Path] = []
    for place in places:
        numbered = chain([""], (f"_{number}" for number in count(2)))
        free = (name for end in numbered if _folded(name := _picture(place, end)) not in taken)
        names.append(next(free))
        taken.add(_folded(names[-1]))
    return names


def _folded(name: Path) -> str:
    return unicodedata.normalize("NFC", str(name).casefold())


def _picture(place: Path, end: str) -> Path:
    stem, room = place.name if page_of(place)[1] else place.stem, _LONGEST - len(end) - len(".png")
    if len(name := os.fsencode(stem)) > room:
        stem = name[:room].decode(errors="ignore")
    return place.with_name(f"{stem}{end}.png")


def heat_colours(
    anomaly_map: Float32[np.ndarray, "H W"], threshold: float | None, shown: tuple[float, float]
) -> UInt8[np.ndarray, "H W 3"]:
    """A map as colours, the same for every image: the head's scale, its middle at the threshold, if there is one."""
    moved = 0.0 if threshold is None else threshold - sum(shown) / 2
    return coloured(anomaly_map, (shown[0] + moved, shown[1] + moved))


def _draw(
    predictions: Iterable[Prediction],
    names: dict[Key, Path],
    shown: tuple[float, float],
    folder: Path,
    before_each: Callable[[], None],
) -> dict[Key, Line]:
    """Score, and write pictures beside it, so that neither waits for the other; the line of each image."""
    lines: dict[Key, Line] = {}
    waiting: deque[tuple[Key, Future[Line]]] = deque()
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
    pictures = {"heatmap": (HEATMAPS, heat_colours(prediction.anomaly_map, prediction.map_threshold, shown))}
    mask = prediction.mask
    if mask is not None:
        pictures["mask"] = (MASKS, mask.astype(np.uint8) * 255)
    for place, pixels in pictures.values():
        Image.fromarray(pixels).save(folder / place / name)
    return {
        "path": str(prediction.path),
        "score": prediction.pred_score,
        "threshold": prediction.threshold,
        "decision": prediction.decision,
        "largest_map_value": prediction.max_value,
        "map_threshold": prediction.map_threshold,
        "disagreement": None if mask is None else _disagreement(prediction.decision, int(mask.sum())),
        **{what: (Path(place) / name).as_posix() for what, (place, _) in pictures.items()},
    }


def _disagreement(decision: str | None, masked: int) -> str | None:
    """Why a decision and its mask say different things, where they do."""
    why = "the image's threshold and the map's are chosen apart"
    if decision == "normal" and masked:
        return f"decided normal, and {masked} pixels are masked: {why}"
    return f"decided anomalous, and no pixel is masked: {why}" if decision == "anomalous" and not masked else None


def _write_lines(path: Path, lines: Iterable[Line]) -> None:
    path.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines), encoding="utf-8")
