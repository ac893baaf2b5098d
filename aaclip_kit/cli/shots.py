"""`aakit shots`: what a model gains from more and more normal images."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from typer import Argument, Option
from typer.core import TyperCommand

from ..contracts.errors import MISSING, UserError, writing
from ..plugin_host.discovery import discover
from ..plugin_host.registry import Registry
from .run import SET_HELP, with_shortcuts
from .terminal import PlainConsole, numeric, plain_table, say_lines

if TYPE_CHECKING:
    from ..studies.few_shots import Draws, Measured
    from ..studies.shots_model import Plan, ShotsModel


SHOWN: Final = ("pixel_auroc", "image_auroc")


class NumbersAfterK(TyperCommand):
    """Lets `--k 0 1 2` take all numbers that follow it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join them with commas before the others are parsed."""
        joined, after = list[str](), False
        for arg in args:
            if after and re.fullmatch(r"-?\d+(?:[\s,]+-?\d+)*", arg):
                joined[-1] += f",{arg}"
            elif joined and joined[-1] == "--k":
                after = not arg.startswith("--")
                joined[-1:] = [f"--k={arg}"] if after else ["--k", arg]
            else:
                after = False
                joined.append(arg)
        return super().parse_args(ctx, joined)


def shots(
    path: Path = Argument(
        metavar="FILE",
        help="Experiment file with [reference]; or a run's folder or a checkpoint, which is not trained.",
    ),
    numbers: str = Option("0 1 2 4 8 16", "--k", help="How many images are remembered: numbers, 0 for none."),
    draws: int = Option(5, "--draws", help="Draws of them: by the experiment's seed and those after it."),
    out: Path | None = Option(None, "--out", help="Folder of the results; default runs/NAME-shots-TIME."),
    experiment: Path | None = Option(
        None, "--experiment", help="Experiment file of a trained model; by default the one that it was trained with."
    ),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
    device: str | None = Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
    as_json: bool = Option(False, "--json", help="Print JSON instead of tables."),
) -> None:
    """Draw learning curves: a model without references, a memory of k of them alone, and both, for several draws.

    The model is made or trained once. What OUT holds already of the same model and images is kept.
    """
    wanted, registry = _numbers(numbers), discover()
    from ..studies.few_shots import Draws
    from ..studies.shots_model import plan

    Draws.of(wanted, draws, 0)  # refused before anything is read
    planned = plan(path, registry, experiment, with_shortcuts(overrides, device=device))
    of = Draws.of(wanted, draws, planned.experiment.file.seed)
    of.check_enough(planned.data)
    record = _measured(planned, of, registry, out=out, as_json=as_json)
    if as_json:
        say_lines(json.dumps(record, indent=1, allow_nan=False))


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in re.split(r"[\s,]+", text.strip())]
    except ValueError:
        problem = f"'{text}' is no list of numbers"
        raise UserError(problem, where="--k", fix="write whole numbers: --k 0 1 2 4 8 16") from None


def _measured(
    planned: "Plan", draws: "Draws", registry: Registry, *, out: Path | None, as_json: bool
) -> dict[str, Any]:
    from ..files.lock import locked
    from ..record.run_folder import made_folder
    from ..studies.shots_page import page
    from ..studies.shots_record import PAGE, as_record, begin, check_usable, write_record
    from .screen import Screen

    if out is not None:
        check_usable(out)
    console = PlainConsole(stderr=as_json)
    with made_folder(out, f"{planned.experiment.file.name}-shots") as target, locked(target):
        with Screen(console) as screen:
            model = planned.make(target, screen)
        measured = begin(target, model, registry)

        def keep() -> None:
            with writing(target):
                write_record(target, model, as_record(model, draws, measured))

        _walk(model, draws, measured, keep, console)
        record = as_record(model, draws, measured)
        with writing(target):
            write_record(target, model, record, page(record))
    _show(record, console)
    console.print_line(f"curves: {target / PAGE}")
    return record


def _walk(
    model: "ShotsModel",
    draws: "Draws",
    measured: "dict[str, Measured]",
    keep: Callable[[], None],
    console: PlainConsole,
) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ..studies.few_shots import measure

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("remembering", total=None)

        def advance(name: str, memories: int, done: int, whole: int) -> None:
            bar.update(task, description=f"{name}, {memories} memories", completed=done, total=whole)

        measure(model, draws, measured, keep, advance)


def _show(record: dict[str, Any], console: PlainConsole) -> None:
    """Print two tables a class, and of what the numbers are."""
    from ..evaluation.class_metrics import heading
    from ..studies.shots_record import HEADS, curves, rows

    for note in record["notes"]:
        console.print_line(f"warning    {note}")
    for name, curve in curves(record).items():
        for metric in SHOWN:
            title = f"{name}, {heading(metric)}"
            console.print(plain_table(*numeric(HEADS), rows=rows(curve, metric), title=title))
    for name, of in record["measured"].items():
        for reason in dict.fromkeys(of["undefined"].values()):
            console.print_line(f"{MISSING}  {name}: {reason}")
    draws = len(record["seeds"])
    console.print_line(f"means over {draws} draw{'s' * (draws > 1)}; ±: half of {record['interval']}")
