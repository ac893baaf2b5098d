"""`aakit predict`: scores, decisions, heatmaps and masks of new images."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Argument, Context, Option

from ..cluster.choose import chosen_place
from ..cluster.here import Here
from ..contracts.errors import UserError
from ..experiment.effects import check_overrides
from ..run.stop import StopRequest
from .evaluate import EXPERIMENT_HELP, MODEL_HELP, TILES_HELP
from .places import ELSEWHERE, JOBS_HELP, ON_HELP, RESOURCES_HELP, words_again
from .predicted import show_results
from .processes import in_processes
from .run import SET_HELP, with_shortcuts
from .scoring import Domains, OnBadImage, announce, checked_options, loaded
from .signals import NOTHING, ended_by_signals
from .terminal import say

if TYPE_CHECKING:
    from ..cluster.task import Place
    from ..distributed.ranks import Ranks
    from ..inference.arrivals import Look
    from ..inference.score_images import Tally
    from ..inference.score_table import Summary


_KEPT = "what is scored is kept, and the same command goes on"


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
    append: bool = Option(False, "--append", help="Go on with the results in --out; unchanged images keep theirs."),
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
    given = checked_options(threshold, map_threshold, class_name, real_name)
    place = chosen_place(on, jobs, devices, resources, say)
    kept = append or watch or place is not None or shard is not None
    with in_processes() as ranks, _stopped(place, kept, watch) as stop:
        from ..data.manifests import list_images
        from ..inference.results_folder import claimed_results
        from ..inference.score_images import real_names
        from ..inference.shards import score_shard

        load = partial(
            loaded, model, experiment, with_shortcuts(overrides, device=device), ranks=ranks, domain=domain,
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


def _check_place(place: "Place | None", ranks: "Ranks", watch: bool) -> None:
    """Raise `UserError` for shards that are asked for in two ways, or of images that are still to come."""
    if place is not None and ranks.is_distributed:
        raise UserError("cuts the images into shards itself", where="--on", fix="start aakit predict without torchrun")
    if place is not None and watch:
        raise UserError("works in one process", where="--watch", fix="leave out --on, --jobs and --devices")


def _stopped(place: "Place | None", kept: bool, watch: bool) -> AbstractContextManager[StopRequest]:
    """What listens to signals; while others score, they end this process as they end any."""
    if place is not None:
        return nullcontext(StopRequest())
    return ended_by_signals(_KEPT if kept else NOTHING, ctrl_c_is_good=watch)


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


def _looks(paths: list[Path], root: Path | None, ranks: "Ranks", stop: StopRequest) -> "Iterator[Look]":
    """What is new in watched folders, look after look. Raises `UserError` where several processes would watch."""
    from ..inference.arrivals import arrivals

    if ranks.is_distributed:
        raise UserError("works in one process", where="--watch", fix="start aakit predict without torchrun")
    return (look for look in arrivals(paths, root, stop.raise_if_asked) if any(look))
