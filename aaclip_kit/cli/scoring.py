"""What commands that score share: their options checked, the model loaded, and what it scores with in words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from ..contracts.errors import UserError, in_short, shortened
from ..plugin_host.discovery import discover
from .terminal import PlainConsole, say

if TYPE_CHECKING:
    from ..checkpoints.find_checkpoint import Trained
    from ..checkpoints.stored_thresholds import Thresholds
    from ..distributed.ranks import Ranks
    from ..evaluation.calibration import Tiles, What
    from ..inference.load_model import TrainedModel
    from ..inference.score_images import Scoring


Domains = StrEnum("Domains", {"industrial": "industrial", "medical": "medical"})
"""Domains of images, whose maps are blurred differently."""

OnBadImage = StrEnum("OnBadImage", ["error", "skip"])
"""What to do about an image that cannot be used."""


def checked_options(
    threshold: float | None, map_threshold: float | None, class_name: str | None, real_name: str | None
) -> "dict[What, float | None]":
    """Return the thresholds that are given. Raises `UserError` for no number, and for names that cannot be shown."""
    given: dict[What, float | None] = {"image": threshold, "map": map_threshold}
    check_finite(given)
    check_shown(class_name, "--class")
    check_shown(real_name, "--real-name")
    return given


def check_finite(thresholds: "Mapping[What, float | None]") -> None:
    """Raise `UserError` for a threshold that is no number."""
    options = {"image": "--threshold", "map": "--map-threshold"}
    for what, value in thresholds.items():
        if value is not None and not isfinite(value):
            fix = "give a finite number, or leave it out"
            raise UserError(f"{value} is no threshold", where=options[what], fix=fix)


def check_shown(name: str | None, option: str) -> None:
    """Raise `UserError` for a name that cannot be printed."""
    if name is not None and not name.isprintable():
        fix = "give letters, digits, blanks and signs that can be shown"
        raise UserError("holds what cannot be shown", where=option, fix=fix)


def loaded(
    model: Path,
    experiment: Path | None,
    overrides: Sequence[str],
    *,
    ranks: "Ranks | None" = None,
    domain: Domains | None,
    tiles: str | None,
    given: "Mapping[What, float | None]",
    uncalibrated: bool,
    class_name: str | None,
    real_name: str | None,
    least_area: int,
    looked_at: tuple[Path | None, Path | None],
) -> "tuple[TrainedModel, Scoring]":
    """Load a model, and say how it is to score. Raises `UserError`."""
    from ..checkpoints.find_checkpoint import find_trained
    from ..inference.load_model import TrainedModel
    from ..inference.looked_at import read_looked_at
    from ..inference.score_images import Scoring
    from ..inference.tiled import chosen_tiles

    seen, trained = read_looked_at(*looked_at), find_trained(model, discover(), experiment, overrides)
    cut = chosen_tiles(trained, tiles, "--tiles")
    thresholds = thresholds_for(trained, domain, tiles=cut, given=given, uncalibrated=uncalibrated)
    built = TrainedModel(trained) if ranks is None else TrainedModel(trained, ranks)
    scoring = Scoring(
        thresholds=thresholds, class_name=class_name, real_name=real_name, domain=built.domain(domain),
        least_area=least_area, looked_at=seen, tiles=cut,
    )  # fmt: skip
    return built, scoring


def thresholds_for(
    trained: "Trained",
    domain: Domains | None,
    *,
    tiles: "Tiles | None",
    given: "Mapping[What, float | None]",
    uncalibrated: bool,
) -> "Thresholds":
    """Take those given, else those stored.

    Raises `UserError` where an image has none, unless that is wanted.
    """
    from ..checkpoints.stored_thresholds import Thresholds, stored_thresholds

    stored = stored_thresholds(trained, None if domain is None else domain.value, tiles)
    if uncalibrated:
        stored = Thresholds(None, None, dict.fromkeys(("image", "map"), "as --uncalibrated asks"))
    image = stored.image if given["image"] is None else given["image"]
    pixel = stored.map if given["map"] is None else given["map"]
    if image is None and not uncalibrated:
        problem = f"holds no threshold for these scores ({stored.reasons.get('image', 'it has none')})"
        fix = "give --threshold, or --uncalibrated for scores and heatmaps alone"
        fix += "" if tiles is None else f"; aakit calibrate --tiles {tiles} chooses thresholds for tiles"
        raise UserError(problem, where=str(trained.checkpoint), fix=fix)
    return replace(stored, image=image, map=pixel)


def announce(
    built: "TrainedModel",
    real_names: Mapping[str, str],
    scoring: "Scoring",
    given: "Mapping[What, float | None]",
    notes: Sequence[str] = (),
) -> None:
    """Print notes, and what the images are scored with; `real_names` says what prompts call each of their classes."""
    for note in notes:
        say(note)
    _show(built, real_names, scoring.thresholds, given)
    if scoring.tiles is not None:
        say(_tiles_in_words(scoring.tiles, built.evaluator.pixels.size))
    _show_looked_at(built, scoring)


def _tiles_in_words(tiles: "Tiles", side: int) -> str:
    """How images are cut."""
    number = f"of about {side} pixels, the model's size" if tiles == "auto" else f"{tiles} along the shorter side"
    return f"tiles       squares, {number}; they overlap by a quarter, and each is scored as an image"


def _show_looked_at(built: "TrainedModel", scoring: "Scoring") -> None:
    """Print how much of each image is looked at, and where an image's score is not of that alone."""
    if scoring.looked_at is None:
        return
    choice, of = built.evaluator.table.image_score, "whole image" if scoring.tiles is None else "tiles that hold some"
    share = {"map": "", "mean": f"; half of an image's score is of the {of}"}
    more = share.get(choice, f"; an image's score is of the {of}")
    say(f"looked at   {scoring.looked_at.share:.1%} of each image{more}")


def _show(
    built: "TrainedModel", real_names: Mapping[str, str], thresholds: "Thresholds", given: Mapping["What", float | None]
) -> None:
    """Print what the images are scored with, and of thresholds that are not `given` where they are from."""
    from ..checkpoints.stored_thresholds import objections, origin

    metadata = built.trained.metadata
    values: dict[What, float | None] = {"image": thresholds.image, "map": thresholds.map}
    origins = {what: "given" if own is not None else origin(metadata.calibration, what) for what, own in given.items()}
    stored = [what for what, own in given.items() if own is None and values[what] is not None]
    for line in objections(metadata, real_names, stored):
        PlainConsole().print_line(f"warning     {line}", style="bold red")
    names = in_short(f"'{name}'" for name in dict.fromkeys(real_names.values()))
    hint = "; --class or --real-name names it" if "object" in real_names.values() else ""
    say(f"prompts     call the object {names}{hint}")
    if built.evaluator.switches.score_normalisation == "test_set":
        say("scores      are raw: the published normalisation by the whole test set is left out")
    for what, value in values.items():
        reason = f" ({shortened(thresholds.reasons[what], 400)})" if what in thresholds.reasons else ""
        none = f"none{reason}, so nothing is decided by it"
        say(f"threshold   {what}: {none if value is None else f'{value:.6g}, {origins[what]}'}")
    if thresholds.good_scores:
        known = len(thresholds.good_scores)
        say(f"certainty   beside each score: the share of {known} good images that score as high, or higher")
    else:
        say("certainty   not known: the model has no scores of good images, made in this way, to compare with")
