"""`aakit gradients`: how much of their gradient the adapters keep when a cross-attention stage acts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import Argument, Option

from ..contracts.errors import MISSING, UserError
from ..experiment import Experiment, load, resolved_toml
from ..plugin_host.discovery import discover
from .run import SET_HELP
from .terminal import PlainConsole, numeric, plain_table, say_lines, three_decimals

if TYPE_CHECKING:
    from ..studies.gradient_dilution import Dilution


def gradients(
    file: Path = Argument(help="Experiment file (TOML)."),
    scales: str = Option("1.0,0.3,0.1,0.03", "--scales", help="Scales of the stages, with commas between."),
    batches: int = Option(16, "--batches", help="Batches of each initialisation."),
    inits: int = Option(3, "--inits", help="Initialisations: the experiment's seed, seed + 1, ..."),
    out: Path | None = Option(None, "--out", help="Folder of the results; default runs/NAME-gradients-TIME."),
    as_json: bool = Option(False, "--json", help="Print JSON instead of tables."),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
) -> None:
    """Measure gradient dilution: the adapters' gradient norms with each cross-attention stage on and off."""
    numbers = _numbers(scales)
    _check_count(batches, "--batches")
    _check_count(inits, "--inits")
    experiment = load(file, discover(), overrides)

    from ..record.run_folder import RunFolder, check_elsewhere, made_folder
    from ..studies.gradient_dilution import as_record, write_dilution

    if out is not None:
        RunFolder.check_free(out)
        check_elsewhere(out)
    console = PlainConsole(stderr=as_json)
    with made_folder(out, f"{experiment.file.name}-gradients") as target:
        record = as_record(_measured(experiment, numbers, batches=batches, inits=inits, console=console))
        write_dilution(target, record, resolved_toml(experiment))
    if as_json:
        say_lines(json.dumps(record, indent=1, allow_nan=False))
    else:
        _show(record, console)
    console.print_line(f"numbers and plot: {target}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        problem = f"'{text}' is no list of numbers"
        raise UserError(problem, where="--scales", fix="write numbers with commas between: --scales 1.0,0.1") from None


def _check_count(number: int, option: str) -> None:
    if number < 1:
        raise UserError(f"{number} is too few", where=option, fix="give at least 1; intervals want 16 batches, 3 inits")


def _measured(
    experiment: Experiment, scales: list[float], *, batches: int, inits: int, console: PlainConsole
) -> "Dilution":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ..studies.gradient_dilution import measure_dilution

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("gradients", total=None)

        def advance(done: int, whole: int) -> None:
            bar.update(task, completed=done, total=whole)

        return measure_dilution(experiment, scales, batches=batches, inits=inits, advance=advance)


def _show(record: dict[str, Any], console: PlainConsole) -> None:
    """Print a table for each subject, and in words what the numbers rest on."""
    subjects: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for measured in record["measured"]:
        subjects.setdefault((measured["tower"], tuple(measured["stages"])), []).append(measured)
    for (tower, stages), rows in subjects.items():
        _show_subject(f"{' + '.join(stages)}: gradient norm of the {tower} adapters, on / off", rows, console)
    batches = len(next(iter(record["towers"].values()))["off"]["all"][0])
    lines = [
        f"{len(record['seeds'])} initialisations of {batches} batches, in pairs; geometric means, {record['interval']}",
        "matched: norm-matched; context: the text context; * as in the file",
    ]
    if record["unvaried"]:
        lines.append(f"measured on and off only, for want of an option: {', '.join(record['unvaried'])}")
    if record["checkpoint"]:
        fresh = ", ".join(record["fresh_stages"] or ()) or "no stage"
        lines.append(f"weights from {record['checkpoint']}; fresh in each initialisation: {fresh}")
    for line in lines:
        console.print_line(line)


def _show_subject(title: str, rows: list[dict[str, Any]], console: PlainConsole) -> None:
    adapters = [name for name in rows[0]["ratio"] if name != "all"]
    one_stage = len({name.rpartition(".")[0] for name in adapters}) == 1
    blocks = [f"block {name.rpartition('.')[2]}" if one_stage else name for name in adapters]
    table = plain_table(*numeric(("scale", "matched", "context", "all", "95 % interval", *blocks)), title=title)
    for row in rows:
        scale = MISSING if row["scale"] is None else f"{row['scale']:g}"
        matched = {None: MISSING, True: "yes", False: "no"}[row["norm_matched"]]
        value, low, high = (three_decimals(row["ratio"]["all"][key]) for key in ("value", "low", "high"))
        ratios = (three_decimals(row["ratio"][name]["value"]) for name in adapters)
        cells = ("* " * row["as_in_file"] + scale, matched, row["text_context"] or MISSING)
        table.add_row(*cells, value, f"{low} to {high}", *ratios)
    console.print(table)
