"""`aakit predict`: scores, decisions, heatmaps and masks of new images."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Argument, Option

from ..contracts.errors import UserError, UserErrors, in_short, shortened
from ..experiment.effects import check_overrides
from ..plugin_host.discovery import discover
from ..run.stop import Stopped, StopRequest
from .evaluate import EXPERIMENT_HELP, MODEL_HELP
from .processes import in_processes
from .run import SET_HELP, with_shortcuts
from .terminal import PlainConsole, say

if TYPE_CHECKING:
    from ..checkpoints.find_checkpoint import Trained
    from ..checkpoints.stored_thresholds import Thresholds
    from ..contracts.data import DataSet
    from ..evaluation.calibration import What
    from ..inference.load_model import TrainedModel
    from ..inference.predictions import Line


Domains = StrEnum("Domains", {"industrial": "industrial", "medical": "medical"})
"""Domains of images, whose maps are blurred differently."""

OnBadImage = StrEnum("OnBadImage", ["error", "skip"])
"""What to do about an image that cannot be used."""


def predict(
    model: Path = Argument(help=MODEL_HELP),
    paths: list[Path] = Argument(help='Images, folders, or lists (.jsonl, .csv) with "image_path".'),
    out: Path = Option(help="Folder to write; it must be new or empty."),
    class_name: str | None = Option(None, "--class", help="Class of the images, as in training if known there."),
    real_name: str | None = Option(None, "--real-name", help="What prompts call the object: 'metal nut'."),
    domain: Domains | None = Option(None, "--domain", help="Kind of images, which sets the blur; as in training."),
    threshold: float | None = Option(None, "--threshold", help="Image score from which an image is anomalous."),
    map_threshold: float | None = Option(None, "--map-threshold", help="Map value from which a pixel is masked."),
    uncalibrated: bool = Option(
        False, "--uncalibrated", help="Scores and heatmaps alone: no threshold but those given here."
    ),
    root: Path | None = Option(
        None, "--root", help="Folder that a list's paths start from and may not leave; by default the list's own."
    ),
    on_bad_image: OnBadImage = Option(OnBadImage.error, "--on-bad-image", help="Stop at bad images, or skip them."),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
    device: str | None = Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
) -> None:
    """Score new images with a trained model. An image's score depends on no other image."""
    check_overrides(overrides, "scoring", "execution")
    _check_finite(threshold, "--threshold")
    _check_finite(map_threshold, "--map-threshold")
    check_shown(class_name, "--class")
    check_shown(real_name, "--real-name")
    with in_processes() as ranks, ended_by_signals() as stop:
        from ..checkpoints.find_checkpoint import find_trained
        from ..data.decoded import Decoded
        from ..data.manifests import list_images
        from ..inference.load_model import TrainedModel
        from ..inference.predictions import as_data, claimed_results, write_predictions

        listed, faults, notes = list_images(paths, root)
        with claimed_results(out, ranks) as target:
            trained = find_trained(model, discover(), experiment, with_shortcuts(overrides, device=device))
            thresholds = _thresholds(trained, domain, image=threshold, pixel=map_threshold, uncalibrated=uncalibrated)
            for note in notes if ranks.is_first else ():
                say(note)
            built, decoded, ask = TrainedModel(trained, ranks), Decoded(once=True), stop.raise_if_asked
            data, sizes, bad, remarks = as_data(
                built, listed, decoded,
                class_name=class_name, real_name=real_name, domain=built.domain(domain), before_each=ask,
            )  # fmt: skip
            faults += bad
            if faults and (on_bad_image is OnBadImage.error or not data.samples):
                raise UserErrors(first_faults(faults))
            if ranks.is_first:
                _show(built, data, thresholds, {"image": threshold, "map": map_threshold})
                for remark in remarks:
                    say(f"note        {remark}")
            lines = write_predictions(
                built, data, sizes, thresholds, decoded=decoded, faults=faults, out=target, before_each=ask
            )
        if ranks.is_first:
            for fault in faults:
                say(f"skipped     {fault.where}: {fault.problem}")
            _show_counts(lines, len(faults), out)


@contextmanager
def ended_by_signals() -> Iterator[StopRequest]:
    """Let a signal end the command before its next image, with nothing written; a second one ends it at once."""
    stop = StopRequest()
    try:
        with stop.listening():
            yield stop
    except Stopped as stopped:
        say(f"stopped by {stopped}: nothing is written")
        raise SystemExit(stopped.code) from None


def _check_finite(threshold: float | None, option: str) -> None:
    if threshold is not None and not isfinite(threshold):
        raise UserError(f"{threshold} is no threshold", where=option, fix="give a finite number, or leave it out")


def check_shown(name: str | None, option: str) -> None:
    """Raise `UserError` for a name that cannot be printed."""
    if name is not None and not name.isprintable():
        fix = "give letters, digits, blanks and signs that can be shown"
        raise UserError("holds what cannot be shown", where=option, fix=fix)


def _thresholds(
    trained: "Trained", domain: Domains | None, *, image: float | None, pixel: float | None, uncalibrated: bool
) -> "Thresholds":
    """Take those given, else those stored. Raises `UserError` where an image has none, unless that is wanted."""
    from ..checkpoints.stored_thresholds import Thresholds, stored_thresholds

    stored = stored_thresholds(trained, None if domain is None else domain.value)
    if uncalibrated:
        stored = Thresholds(None, None, dict.fromkeys(("image", "map"), "as --uncalibrated asks"))
    image, pixel = stored.image if image is None else image, stored.map if pixel is None else pixel
    if image is None and not uncalibrated:
        problem = f"holds no threshold for these scores ({stored.reasons.get('image', 'it has none')})"
        fix = "give --threshold, or --uncalibrated for scores and heatmaps alone"
        raise UserError(problem, where=str(trained.checkpoint), fix=fix)
    return replace(stored, image=image, map=pixel)


def first_faults(faults: Sequence[UserError]) -> list[UserError]:
    """The first faults, and one line with the number of the others."""
    from ..data.checks import MOST_SHOWN

    if (more := len(faults) - MOST_SHOWN) <= 0:
        return list(faults)
    problem = f"{more} more images cannot be used, {len(faults)} in all"
    return [*faults[:MOST_SHOWN], UserError(problem, fix="--on-bad-image skip goes on without them")]


def _show_counts(lines: "list[Line]", skipped: int, out: Path) -> None:
    """Print how many images were decided as what, and where decision and mask say different things."""
    apart = Counter(line["decision"] for line in lines if line.get("disagreement"))
    for decision, mask in (("normal", "a mask that is not empty"), ("anomalous", "an empty mask")):
        if apart[decision]:
            say(f"disagree    {apart[decision]} images are decided {decision} and have {mask}; scores.jsonl says which")
    counts = Counter(line["decision"] or "undecided" for line in lines)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    say(f"wrote {out}: {kinds}" + (f", {skipped} skipped" if skipped else ""))


def _show(
    built: "TrainedModel", data: "DataSet", thresholds: "Thresholds", given: Mapping["What", float | None]
) -> None:
    """Print what the images are scored with, and of thresholds that are not `given` where they are from."""
    from ..checkpoints.stored_thresholds import objections, origin

    metadata = built.trained.metadata
    values: dict[What, float | None] = {"image": thresholds.image, "map": thresholds.map}
    origins = {what: "given" if own is not None else origin(metadata.calibration, what) for what, own in given.items()}
    stored = [what for what, own in given.items() if own is None and values[what] is not None]
    for line in objections(metadata, data.real_names, stored):
        PlainConsole().print_line(f"warning     {line}", style="bold red")
    names = in_short(f"'{name}'" for name in dict.fromkeys(data.real_names.values()))
    hint = "; --class or --real-name names it" if "object" in data.real_names.values() else ""
    say(f"prompts     call the object {names}{hint}")
    if built.evaluator.switches.score_normalisation == "test_set":
        say("scores      are raw: the published normalisation by the whole test set is left out")
    for what, value in values.items():
        reason = f" ({shortened(thresholds.reasons[what], 400)})" if what in thresholds.reasons else ""
        none = f"none{reason}, so nothing is decided by it"
        say(f"threshold   {what}: {none if value is None else f'{value:.6g}, {origins[what]}'}")
