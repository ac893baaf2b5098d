"""`aakit predict`: scores, decisions, heatmaps and masks of new images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from enum import StrEnum
from functools import partial
from math import isfinite
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING

from typer import Argument, Context, Option

from ..cluster.choose import chosen_place
from ..cluster.here import Here
from ..contracts.errors import UserError, in_short, shortened
from ..experiment.effects import check_overrides
from ..plugin_host.discovery import discover
from ..run.stop import Stopped, StopRequest
from .evaluate import EXPERIMENT_HELP, MODEL_HELP, TILES_HELP
from .places import ELSEWHERE, JOBS_HELP, ON_HELP, RESOURCES_HELP, words_again
from .predicted import show_results
from .processes import in_processes
from .run import SET_HELP, with_shortcuts
from .terminal import PlainConsole, say

if TYPE_CHECKING:
    from ..checkpoints.find_checkpoint import Trained
    from ..checkpoints.stored_thresholds import Thresholds
    from ..cluster.task import Place
    from ..distributed.ranks import Ranks
    from ..evaluation.calibration import Tiles, What
    from ..inference.arrivals import Look
    from ..inference.load_model import TrainedModel
    from ..inference.score_images import Scoring, Tally
    from ..inference.score_table import Summary


Domains = StrEnum("Domains", {"industrial": "industrial", "medical": "medical"})
"""Domains of images, whose maps are blurred differently."""

OnBadImage = StrEnum("OnBadImage", ["error", "skip"])
"""What to do about an image that cannot be used."""

_NOTHING, _KEPT = "nothing is written", "what is scored is kept, and the same command goes on"


def predict(
    context: Context,
    model: Path = Argument(help=MODEL_HELP),
    paths: list[Path] = Argument(help='Images, folders, or lists (.jsonl, .csv) with "image_path".'),
    out: Path = Option(help="Folder to write; it must be new or empty."),
    class_name: str | None = Option(None, "--class", help="Class of the images, as in training if known there."),
    real_name: str | None = Option(None, "--real-name", help="What prompts call the object: 'metal nut'."),
    domain: Domains | None = Option(None, "--domain", help="Kind of images, which sets the blur; as in training."),
    threshold: float | None = Option(None, "--threshold", help="Image score from which an image is anomalous."),
    map_threshold: float | None = Option(None, "--map-threshold", help="Map value from which a pixel is masked."),
    uncalibrated: bool = Option(False, "--uncalibrated", help="Scores and heatmaps; no threshold but those given."),
    root: Path | None = Option(None, "--root", help="Folder that a list's paths may not leave; by default its own."),
    on_bad_image: OnBadImage = Option(OnBadImage.error, "--on-bad-image", help="Stop at bad images, or skip them."),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
    least_area: int = Option(1, "--least-area", min=1, help="Pixels of the smallest region that a mask has."),
    roi: Path | None = Option(None, "--roi", help="Mask of the images' size: only what is white in it is looked at."),
    ignore: Path | None = Option(None, "--ignore", help="Mask of the images' size: what is white in it is not."),
    tiles: str | None = Option(None, "--tiles", help=TILES_HELP),
    append: bool = Option(False, "--append", help="Go on with the results in --out: images that have a line stay."),
    watch: bool = Option(False, "--watch", help="Score what comes into the folders, until Ctrl-C; implies --append."),
    device: str | None = Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
    jobs: int | None = Option(None, "--jobs", min=1, help=f"Shards. {JOBS_HELP}"),
    devices: str | None = Option(None, "--devices", help="One shard a GPU: so many of them, or those named."),
    on: str | None = Option(None, "--on", help=f"Implies --append. {ON_HELP}"),
    resources: str | None = Option(None, "--resources", help=RESOURCES_HELP),
    shard: int | None = Option(None, "--shard", hidden=True, help="Score this shard alone, whose list is in --out."),
) -> None:
    """Score new images with a trained model. An image's score depends on no other image."""
    check_overrides(overrides, "scoring", "execution")
    given = _checked(threshold, map_threshold, class_name, real_name)
    place = chosen_place(on, jobs, devices, resources, say)
    kept = append or watch or place is not None or shard is not None
    with in_processes() as ranks, _stopped(place, kept, watch) as stop:
        from ..data.manifests import list_images
        from ..inference.results_folder import claimed_results
        from ..inference.score_images import real_names
        from ..inference.shards import score_shard

        load = partial(
            _loaded, model, experiment, with_shortcuts(overrides, device=device), ranks=ranks, domain=domain,
            tiles=tiles, given=given, uncalibrated=uncalibrated, class_name=class_name, real_name=real_name,
            least_area=least_area, looked_at=(roi, ignore),
        )  # fmt: skip
        skip = on_bad_image is OnBadImage.skip
        if shard is not None:
            return score_shard(*load(), out=out, number=shard, skip=skip, before_each=stop.raise_if_asked)
        _check_place(place, ranks, watch)
        looks = _looks(paths, root, ranks, stop) if watch else None
        listed, faults, notes = list_images(paths, root, may_be_empty=watch)
        with claimed_results(out, ranks, kept) as target:
            built, scoring = load()
            if ranks.is_first:
                announce(built, real_names(built, listed, scoring), scoring, given, notes)
            write = _writer(context, place, jobs, words=(model, target), stop=stop, append=kept)
            for images, bad in [(listed, faults)] if looks is None else looks:
                summary, tally = write(built, images, scoring, faults=bad, out=target, skip=skip)
                if ranks.is_first:
                    show_results(summary, tally, out, watch=watch)


def _loaded(
    model: Path,
    experiment: Path | None,
    overrides: Sequence[str],
    *,
    ranks: "Ranks",
    domain: Domains | None,
    tiles: str | None,
    given: "Mapping[What, float | None]",
    uncalibrated: bool,
    class_name: str | None,
    real_name: str | None,
    least_area: int,
    looked_at: tuple[Path | None, Path | None],
) -> "tuple[TrainedModel, Scoring]":
    """The model, and how it is to score."""
    from ..checkpoints.find_checkpoint import find_trained
    from ..inference.load_model import TrainedModel
    from ..inference.looked_at import read_looked_at
    from ..inference.score_images import Scoring
    from ..inference.tiled import chosen_tiles

    seen, trained = read_looked_at(*looked_at), find_trained(model, discover(), experiment, overrides)
    cut = chosen_tiles(trained, tiles, "--tiles")
    thresholds = thresholds_for(trained, domain, tiles=cut, given=given, uncalibrated=uncalibrated)
    built = TrainedModel(trained, ranks)
    scoring = Scoring(
        thresholds=thresholds, class_name=class_name, real_name=real_name, domain=built.domain(domain),
        least_area=least_area, looked_at=seen, tiles=cut,
    )  # fmt: skip
    return built, scoring


def _check_place(place: "Place | None", ranks: "Ranks", watch: bool) -> None:
    """Raise `UserError` for shards that are asked for in two ways, or of images that are still to come."""
    if place is not None and ranks.is_distributed:
        raise UserError("cuts the images into shards itself", where="--on", fix="start aakit predict without torchrun")
    if place is not None and watch:
        raise UserError("works in one process", where="--watch", fix="leave out --on, --jobs and --devices")


def _checked(
    threshold: float | None, map_threshold: float | None, class_name: str | None, real_name: str | None
) -> "dict[What, float | None]":
    """The thresholds that are given. Raises `UserError` for what is no number, and for names that cannot be shown."""
    given: dict[What, float | None] = {"image": threshold, "map": map_threshold}
    check_finite(given)
    check_shown(class_name, "--class")
    check_shown(real_name, "--real-name")
    return given


def _stopped(place: "Place | None", kept: bool, watch: bool) -> AbstractContextManager[StopRequest]:
    """What listens to signals; while others score, they end this process as they end any."""
    if place is not None:
        return nullcontext(StopRequest())
    return ended_by_signals(_KEPT if kept else _NOTHING, ctrl_c_is_good=watch)


def _writer(
    context: Context,
    place: "Place | None",
    jobs: int | None,
    *,
    words: tuple[Path, Path],
    stop: StopRequest,
    append: bool,
) -> "Callable[..., tuple[Summary, Tally]]":
    """What scores images: here, or in shards, at least as many as may be at work at once."""
    from ..inference.predictions import write_predictions
    from ..inference.shards import predict_in_shards

    if place is None:
        return partial(write_predictions, before_each=stop.raise_if_asked, append=append)
    (model, out), least = words, place.jobs if isinstance(place, Here) else jobs or 1
    name, *others = words_again(context, {*ELSEWHERE, "--out", "--append"}, str(model), str(out))
    return partial(predict_in_shards, place=place, least=least, words=(name, "--out", str(out), *others))


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


def _looks(paths: list[Path], root: Path | None, ranks: "Ranks", stop: StopRequest) -> "Iterator[Look]":
    """What is new in watched folders, look after look. Raises `UserError` where several processes would watch."""
    from ..inference.arrivals import arrivals

    if ranks.is_distributed:
        raise UserError("works in one process", where="--watch", fix="start aakit predict without torchrun")
    return (look for look in arrivals(paths, root, stop.raise_if_asked) if any(look))


@contextmanager
def ended_by_signals(left: str = _NOTHING, *, ctrl_c_is_good: bool = False) -> Iterator[StopRequest]:
    """Let a signal end the command before its next image; a second one ends it at once.

    `left` says what then is there. Ctrl-C is how a command ends well that has no end of its own.
    """
    stop = StopRequest()
    try:
        with stop.listening():
            yield stop
    except Stopped as stopped:
        say(f"stopped by {stopped}: {left}")
        raise SystemExit(0 if ctrl_c_is_good and stopped.number == SIGINT else stopped.code) from None


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
