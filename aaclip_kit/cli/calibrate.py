"""`aakit calibrate`: thresholds of a trained model, chosen on good photographs of one's own."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from typer import Argument, Option

from ..plugin_host.discovery import discover
from .evaluate import EXPERIMENT_HELP, MODEL_HELP, TILES_HELP
from .run import with_shortcuts
from .scoring import check_shown
from .signals import ended_by_signals
from .teach import ALARMS_HELP, BAD_HELP, checked_rate, say_chosen, say_photographs
from .terminal import say


def calibrate(
    model: Path = Argument(help=f"{MODEL_HELP} Its thresholds are replaced."),
    good: Path = Argument(help="Folder of photographs of good parts that the model has not seen; no masks."),
    bad: Path | None = Option(None, "--bad", help=BAD_HELP),
    false_alarms: str | None = Option(None, "--false-alarms", help=ALARMS_HELP),
    class_name: str | None = Option(None, "--class", help="Class of the images, as in training if known there."),
    real_name: str | None = Option(None, "--real-name", help="What prompts call the object: 'metal nut'."),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
    tiles: str | None = Option(None, "--tiles", help=TILES_HELP),
    device: str | None = Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
) -> None:
    """Choose the thresholds of a trained model anew, on good photographs, and say what to expect of them."""
    check_shown(class_name, "--class")
    check_shown(real_name, "--real-name")
    rate = checked_rate(false_alarms)
    from ..checkpoints.find_checkpoint import find_trained
    from ..checkpoints.stored_thresholds import origin
    from ..inference.calibrate import check_own_experiment, check_unused, read_for, scores_of, store
    from ..inference.good_photographs import choose, rank_for
    from ..inference.load_model import TrainedModel
    from ..inference.tiled import chosen_tiles

    trained = find_trained(model, discover(), experiment, with_shortcuts((), device=device))
    check_own_experiment(trained)
    cut = chosen_tiles(trained, tiles, "--tiles")
    built = TrainedModel(trained)
    with ended_by_signals() as stop:
        ask = stop.raise_if_asked
        read = partial(read_for, built, class_name=class_name, real_name=real_name, tiles=cut, before_each=ask)
        photographs, others = read(good, 0), None if bad is None else read(bad, 1)
        say_photographs(photographs, others)
        check_unused(built, photographs)
        rank = rank_for(len(photographs.facts), rate)
        scores, found = scores_of(built, photographs, ask), None if others is None else scores_of(built, others, ask)
    name = next(iter(photographs.data.real_names.values()))
    how = "which the model had not seen" + ("" if cut is None else f", in tiles ({cut})")
    chosen = choose(scores, found, rank=rank, folder=good, name=name, how=how)
    say_chosen(chosen, photographs, scores, found)
    if (before := trained.metadata.calibration) is not None and before.image_threshold is not None:
        say(f"before      image: {before.image_threshold:.6g}, {origin(before, 'image')}; it is replaced")
    say(f"wrote the thresholds into {store(trained, replace(chosen.calibration, tiles=cut))}")
