"""Predictions as files: scores.jsonl and scores.csv, and a heatmap and a mask an image."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ..checkpoints.stored_thresholds import origin, scoring_keys, stored_thresholds
from ..contracts.data import Sample
from ..contracts.errors import UserError, UserErrors, in_short
from ..data.image_file import page_of
from ..data.manifests import Listed
from ..distributed.collectives import all_gather_object
from ..evaluation.calibration import What
from ..experiment import resolved_toml
from ..files.whole_file import write_whole
from ..report.contact_sheet import Sheet
from .arrivals import FileState
from .draw_predictions import AT_THRESHOLD, draw
from .load_model import TrainedModel
from .picture_names import PictureName, picture_names
from .results_folder import FILE_STATE, HEATMAPS, MASKS, SHEET, SKIPPED, Key, Line, Results, leading_to, results_in
from .score_images import Scoring, Tally, in_blocks, own_share
from .score_table import Summary, write_table

Named = tuple[Listed, PictureName]
"""An image with the name of its pictures."""

_MOST_TOLD: Final = 5
"""Skipped images that the contact sheet names."""


def write_predictions(
    model: TrainedModel,
    listed: Sequence[Listed],
    scoring: Scoring,
    *,
    faults: Sequence[UserError],
    out: Path,
    before_each: Callable[[], None],
    skip: bool = False,
    append: bool = False,
) -> tuple[Summary, Tally]:
    """Score the images into the folder `out`, of which all is there in the end or nothing; with `append`, line by line.

    With `append` what is in the folder stays, and images that have a line are passed over. Of several ranks, each
    scores its share, and the first sums them up. Raises `UserError` for images that cannot be used, `faults` among
    them, unless they are to be skipped; where none is left; and where the folder cannot be written, as far as can be
    known before anything is scored. `before_each` is called before each image.
    """
    ranks, given = model.evaluator.ranks, keys_of(listed, scoring) if append else frozenset()
    with results_in(out, ranks, settings_of(model, scoring), append=append, given=given) as results:
        tally = Tally()
        if ranks.is_first:
            tally.add_faults(faults)
            results.add(map(skipped, faults), SKIPPED)
        try:
            own = _own(model, listed, scoring, results)
            if ranks.is_first:
                tally.add_results(results)
            score_named(model, own, results, tally, scoring, skip=skip, before_each=before_each)
        except Exception:
            if append and not ranks.is_distributed:
                sum_up(results, model, scoring)
            raise
        whole = Tally.of_all(all_gather_object(ranks, tally))
        summary = (
            sum_up(results, model, scoring) if ranks.is_first and (append or whole.is_good(skip, append)) else Summary()
        )
        if not whole.is_good(skip, append):
            raise UserErrors(whole.faults)
        before_each()
        return summary, whole


def settings_of(model: TrainedModel, scoring: Scoring) -> dict[str, Any]:
    """Return what the scores, decisions and pictures depend on beside the images."""
    trained = model.trained
    keys = json.dumps(scoring_keys(resolved_toml(trained.experiment)), sort_keys=True, default=str)
    return {
        "checkpoint": trained.checkpoint.name,
        "checkpoint_sha256": model.checksum,
        "scoring_keys_sha256": hashlib.sha256(keys.encode()).hexdigest(),
        "threshold": scoring.thresholds.image,
        "map_threshold": scoring.thresholds.map,
        "class": scoring.class_name,
        "real_name": scoring.real_name,
        "domain": scoring.domain,
        "least_area": scoring.least_area,
        "tiles": scoring.tiles,
        "looked_at_sha256": None if scoring.looked_at is None else scoring.looked_at.digest,
    }


def keys_of(listed: Sequence[Listed], scoring: Scoring) -> set[Key]:
    """Return what the lines of images are of."""
    return {(str(item.image), scoring.class_of(item)) for item in listed}


def left_to_score(listed: Sequence[Listed], scoring: Scoring, results: Results) -> list[Listed]:
    """Return each image once, with the class that it is looked at as, but for those that have a line."""
    unique = {(str(item.image), scoring.class_of(item)): item for item in listed}
    left = [Listed(item.image, key[1]) for key, item in unique.items() if key not in results.done]
    results.had_line = len(unique) - len(left)
    return left


def _own(model: TrainedModel, listed: Sequence[Listed], scoring: Scoring, results: Results) -> list[Named]:
    """The images that this rank is to score, without those that are done, and what their pictures are called."""
    left = left_to_score(listed, scoring, results)
    own = own_share(model, len(left))
    names = islice(picture_names([item.image for item in left], results.pictures), own.start, own.stop)
    return list(zip(left[own.start : own.stop], names, strict=True))


def score_named(
    model: TrainedModel,
    named: Sequence[Named],
    results: Results,
    tally: Tally,
    scoring: Scoring,
    *,
    skip: bool,
    before_each: Callable[[], None],
) -> None:
    """Score images, draw them under their names, and add their lines; `tally` counts what came of them."""
    names = {(item.image, item.class_name): name for item, name in named}
    listed = [item for item, _ in named]
    for block in in_blocks(model, listed, scoring, tally, skip=skip, before_each=before_each):
        results.add(map(skipped, block.faults), SKIPPED)
        places = {
            (sample.image, sample.class_name): _name_of(sample, names).of(sample.image) for sample in block.samples
        }
        for kind in (HEATMAPS,) if scoring.thresholds.map is None else (HEATMAPS, MASKS):
            leading_to(results.folder / kind, places.values())
        lines = draw(block.predictions, places, model.model.shown, results.folder, before_each)
        ordered = [{**lines[key], FILE_STATE: _state_in(block.states, key[0])} for key in places]
        results.add(ordered)
        tally.add_lines(ordered)


def _state_in(states: Mapping[Path, FileState], image: Path) -> FileState:
    """The state of an image's file, of which it may be a page."""
    return states.get(image) or states.get(page_of(image)[0])


def _name_of(sample: Sample, names: Mapping[tuple[Path, str | None], PictureName]) -> PictureName:
    """The name of the sample's file, of which it may be a page."""
    own = names.get((sample.image, sample.class_name))
    return own or names[sample.image.with_name(sample.image.name.rpartition("#")[0]), sample.class_name]


def sum_up(results: Results, model: TrainedModel, scoring: Scoring) -> Summary:
    """Put the lines together; write the table and the contact sheet of all that are there."""
    results.put_together()
    summary = write_table(results)
    at_threshold = None if scoring.thresholds.map is None else AT_THRESHOLD
    sheet = Sheet(
        worst=summary.worst,
        decisions=summary.decisions,
        folder=results.folder,
        at_threshold=at_threshold,
        good_images=len(scoring.thresholds.good_scores or ()),
        facts=[*_facts(model, scoring), *_left_out(results, scoring)],
        looked_at=None if scoring.looked_at is None else scoring.looked_at.pixels,
    )
    write_whole(results.folder / SHEET, sheet.html())
    return summary


def _facts(model: TrainedModel, scoring: Scoring) -> list[tuple[str, str]]:
    """What the images were scored with, in words."""
    thresholds, known = scoring.thresholds, scoring.thresholds.good_scores
    stored = stored_thresholds(model.trained, scoring.domain, scoring.tiles)
    calibration = model.trained.metadata.calibration
    facts = [("model", model.trained.checkpoint.name)]
    pairs: list[tuple[What, float | None, float | None]] = [
        ("image", thresholds.image, stored.image), ("map", thresholds.map, stored.map),
    ]  # fmt: skip
    for what, value, own in pairs:
        from_where = "given" if value != own else origin(calibration, what)
        facts.append((f"{what} threshold", "none" if value is None else f"{value:.4g}, {from_where}"))
    told = f"{len(known)} known: beside each score, how many of them score as high" if known else "none known"
    if scoring.tiles is not None:
        facts.append(("tiles", f"{scoring.tiles}, as many along the shorter side"))
    return [*facts, ("scores of good images", told)]


def _left_out(results: Results, scoring: Scoring) -> list[tuple[str, str]]:
    """What was not looked at, images and parts of them, in words."""
    facts, bad, seen = list[tuple[str, str]](), results.skipped(), scoring.looked_at
    if seen is not None:
        facts.append(("looked at", f"{seen.share:.1%} of each image ({' and '.join(seen.files)}); the rest is dark"))
    if bad:
        told = in_short((f"{path}, {problem}" for path, problem in bad.items()), _MOST_TOLD, between="; ")
        facts.append(("skipped", f"{len(bad):,}: {told}"))
    return facts


def skipped(fault: UserError) -> Line:
    """Return the line of an image that cannot be used."""
    return {"path": fault.where, "problem": fault.problem}
