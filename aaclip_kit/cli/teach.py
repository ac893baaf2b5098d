"""`aakit teach`: a model of a folder of good photographs, with a threshold of its own."""

import errno
import os
import tomllib
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from typer import Argument, Option

from ..contracts.errors import UserError, not_writable, shortened
from ..experiment.effects import check_overrides
from ..plugin_host.discovery import discover
from .evaluate import SQUARES_HELP
from .new import shipped
from .run import SET_HELP, with_shortcuts
from .scoring import check_shown
from .signals import ended_by_signals
from .terminal import PlainConsole, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..inference.good_photographs import Chosen, PhotographScores
    from ..inference.photographs import Photographs
    from ..inference.teach import Teacher

BAD_HELP = "Folder of photographs of bad parts: how many of them are found is said, and nothing is chosen by them."
ALARMS_HELP = "Share of good parts that may be called bad, such as 5%; by default 2%, or the least that so few show."


def teach(
    good: Path = Argument(help="Folder of photographs of good parts; no masks."),
    bad: Path | None = Option(None, "--bad", help=BAD_HELP),
    out: Path = Option(help="Folder of the model to write, such as line.model; it must not be there."),
    real_name: str | None = Option(None, "--real-name", help="What prompts call the object: 'metal nut'."),
    false_alarms: str | None = Option(None, "--false-alarms", help=ALARMS_HELP),
    tiles: str | None = Option(None, "--tiles", help=f"{SQUARES_HELP}; as whole images by default."),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
    device: str | None = Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
) -> None:
    """Make a model of good photographs alone, choose its threshold on them, and say what to expect of it."""
    check_overrides(overrides, "scoring", "execution")
    check_shown(real_name, "--real-name")
    rate = checked_rate(false_alarms)
    _check_place(out)
    from ..inference.teach import Teacher, taught_experiment
    from ..inference.tile_grid import as_tiles

    cut = as_tiles(tiles, "--tiles")
    with ended_by_signals() as stop:
        tables = tomllib.loads(shipped()["teach"])
        experiment = taught_experiment(tables, good, with_shortcuts(overrides, device=device), discover())
        _teach(Teacher(experiment, real_name, cut, stop.raise_if_asked), good, bad, out, rate)
    say(f"wrote {out}; aakit predict {quote(str(out))} photos/ --out found")


def _check_place(out: Path) -> None:
    """Raise `UserError` where the model cannot be written, before it is made."""
    if os.path.lexists(out):
        raise UserError("is there already", where=str(out), fix="name another one with --out")
    parent = next(place for place in out.absolute().parents if place.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise not_writable(out, OSError(errno.EACCES, f"{parent} is no folder that may be written"))


def _teach(teacher: "Teacher", good: Path, bad: Path | None, out: Path, false_alarms: float | None) -> None:
    from ..inference.good_photographs import PhotographScores, choose, rank_for

    photographs = teacher.read(good, 0)
    others = None if bad is None else teacher.read(bad, 1)
    say_photographs(photographs, others)
    rank = rank_for(len(photographs.facts), false_alarms)
    if teacher.tiles is not None:
        count, minutes = len(photographs.parts.samples), teacher.expected_seconds(photographs) / 60
        say(f"tiles       {count:,} squares, compared with one another: about {max(1, round(minutes))} min")
    with _elapsing("comparing"):
        learnt = teacher.learn(photographs)
    scores = PhotographScores(learnt.image_scores, learnt.peaks)
    found = None if others is None else teacher.scores(learnt, others)
    how = "each by the memory of the others" + ("" if teacher.tiles is None else f", in tiles ({teacher.tiles})")
    chosen = choose(scores, found, rank=rank, folder=good, name=teacher.real_name, how=how)
    teacher.write(out, learnt, chosen)
    say_chosen(chosen, photographs, scores, found)


@contextmanager
def _elapsing(what: str) -> "Iterator[None]":
    """Show in a terminal that something is at work, and for how long."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = PlainConsole(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task(what, total=None)
        yield


def checked_rate(given: str | None) -> float | None:
    """Return the share that is given, as 0.05 or 5%. Raises `UserError` for what is none."""
    if given is None:
        return None
    number, percent, rest = given.strip().partition("%")
    try:
        rate = float(number) / (100 if percent else 1)
    except ValueError:
        rate = 0.0
    if rest or not 0 < rate < 1:
        fix = "give 0.05, or 5%, for 5 in 100"
        raise UserError(f"{shortened(given, 100)} is no share of false alarms", where="--false-alarms", fix=fix)
    return rate


def _photographs(count: int, kind: str = "") -> str:
    return f"{count} {kind}photograph{'' if count == 1 else 's'}"


def say_photographs(good: "Photographs", bad: "Photographs | None") -> None:
    """Print what was read. Raises `UserError` for a single good one, and a picture that is both."""
    for what, photographs in (("good", good), ("bad", bad)):
        if photographs is not None:
            say(f"{what:11} {_photographs(len(photographs.facts))} of {photographs.folder}")
            for note in (*photographs.notes, *good.look_alike(photographs)):
                say(f"note        {note}")
    good.check_several()
    if bad is not None:
        bad.check_apart(good)


def say_chosen(
    chosen: "Chosen", good: "Photographs", scores: "PhotographScores", bad: "PhotographScores | None"
) -> None:
    """Print suspects among the good photographs, the thresholds, what to expect of them, and what they find."""
    from statistics import median

    from ..data.checks import MOST_SHOWN
    from ..evaluation.false_alarms import standing_out
    from ..inference.good_photographs import found_at_other_rates, in_words

    calibration, suspects = chosen.calibration, standing_out(scores.images)
    for place in suspects[:MOST_SHOWN]:
        score = f"score {scores.images[place]:.4g}, half of the good ones are below {median(scores.images):.4g}"
        say(f"suspect     {good.data.samples[place].image}: {score}")
    if suspects:
        many = f"those that stand far out are {len(suspects)} of {len(scores.images)}"
        say(f"suspects    {many}: look at each, take out what is bad, and give the command again")
    if chosen.promise.rank == 1:
        highest = good.data.samples[max(range(len(scores.images)), key=scores.images.__getitem__)].image
        say(f"rests on    {highest}: the good one of the highest score decides the threshold; look at it")
    say(f"threshold   image: {calibration.image_threshold:.6g}, map: {calibration.map_threshold:.6g}")
    for line in in_words(chosen):
        say(f"expect      {line}")
    if bad is not None:
        say(
            f"found       {chosen.found} of the {_photographs(len(bad.images), 'bad ')}; image AUROC {chosen.auroc:.3f}"
        )
        more = found_at_other_rates(scores, bad, chosen.promise.rank)
        if more:
            say(f"            {', '.join(f'{count} with --false-alarms {rate:g}' for rate, count in more.items())}")
        _say_few(chosen.found or 0, len(bad.images), more)


def _say_few(found: int, bad: int, more: "Mapping[float, int]") -> None:
    """Print where fewer than half of the bad ones are found, and the lowest rate that finds half, or the most."""
    if 2 * found >= bad:
        return
    most = min(max(more.values(), default=0), -(-bad // 2))
    rate = next((rate for rate, count in more.items() if count >= most), None)
    if rate is None or most <= found:
        say("few found   less than half of the bad ones, and no higher rate of false alarms finds more")
    else:
        say(f"few found   less than half of the bad ones; --false-alarms {rate:g} finds {more[rate]} of {bad}")
