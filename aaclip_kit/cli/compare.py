"""`aakit compare` and `aakit ablate`: runs against runs, those that are there or those of a study."""

import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from typer import Argument, Context, Option

from ..cluster.choose import chosen_place
from ..contracts.errors import UserError, UserErrors, unknown
from ..plugin_host.discovery import discover
from .places import DEVICES_HELP, ELSEWHERE, JOBS_HELP, ON_HELP, RESOURCES_HELP, words_again
from .run import SET_HELP
from .signals import DONE, ended_by_signals
from .terminal import PlainConsole, numeric, plain_table, say, say_lines

if TYPE_CHECKING:
    from ..cluster.task import Place
    from ..comparison.ablation import Ablation
    from ..comparison.ablation_plan import AblationRun, Study
    from ..comparison.compare import Comparison
    from ..comparison.series import State


FORMATS: Final = ("latex", "csv", "markdown")
GUIDE: Final = "https://github.com/aaclip-kit/aaclip_kit/blob/main/docs/guide/comparing.md"


def compare(
    runs: list[Path] = Argument(
        help="Runs, folders of seeds, an ablation's folder, results of `aakit evaluate`; PATH:loop1 for a loop."
    ),
    baseline: str | None = Option(None, "--baseline", help="What the others are compared with; default the first."),
    out: Path | None = Option(
        None, "--out", help="Folder for comparison.json, .md and .html; with --format, for the table and its plots."
    ),
    as_json: bool = Option(False, "--json", help="Print JSON."),
    form: str | None = Option(None, "--format", help="Print one table for a paper: latex, csv or markdown."),
    metrics: list[str] = Option([], "--metric", help="Only this metric; may be repeated."),
    loop: int | None = Option(None, "--loop", min=0, help="Results after this loop (0: before training)."),
) -> None:
    """Compare runs with a baseline, paired by class and seed, with intervals and a verdict in words."""
    from ..comparison.compare import compare as compare_groups
    from ..comparison.finished_runs import gather
    from ..comparison.write import json_text, write_comparison

    if form is not None and (as_json or form not in FORMATS):
        problem = "cannot be had with --json" if as_json else f"there is no form '{form}'"
        raise UserError(problem, where="--format", fix=f"give one of: {', '.join(FORMATS)}; or --json alone")
    comparison = compare_groups(gather(runs), baseline, loop, metrics)
    if form is not None:
        _show_table(comparison, form, out)
        return
    written = write_comparison(comparison, out) if out else []
    if as_json:
        say_lines(json_text(comparison), end="")
    else:
        _show_comparison(comparison, written)


def _show_table(comparison: "Comparison", form: str, out: Path | None) -> None:
    """Print a table for a paper; with a folder, write it there with its plots."""
    from ..comparison.paper import Format, table, write_paper

    say_lines(table(comparison, cast(Format, form)), end="")
    for note in comparison.notes if form == "csv" else ():
        say(f"note: {note}", file=sys.stderr)
    if out is not None:
        written = write_paper(comparison, cast(Format, form), out)
        say(f"written: {', '.join(map(str, written))}", file=sys.stderr)


def ablate(
    context: Context,
    file: Path = Argument(help="Ablation file (TOML): a base experiment and named variants."),
    out: Path | None = Option(None, "--out", help="Folder of the runs; default runs/FILE-TIME."),
    seeds: int | None = Option(None, "--seeds", min=1, help="Runs of each variant; default as the file says."),
    only: list[str] = Option([], "--only", help="Only this variant; may be repeated."),
    data: list[str] = Option([], "--data", help="Only this table of [data], beside the own data; may be repeated."),
    overrides: list[str] = Option([], "--set", help=f"{SET_HELP} For every run."),
    jobs: int | None = Option(None, "--jobs", min=1, help=f"Runs. {JOBS_HELP}"),
    devices: str | None = Option(None, "--devices", help=DEVICES_HELP),
    on: str | None = Option(None, "--on", help=ON_HELP),
    resources: str | None = Option(None, "--resources", help=RESOURCES_HELP),
    dry_run: bool = Option(False, "--dry-run", help="Check everything and show the runs; write nothing."),
    one: str | None = Option(None, "--one", hidden=True, help="Do this run alone: VARIANT/seed_N."),
) -> None:
    """Run a base experiment and its variants with the same seeds and batches, and compare them.

    Runs that are finished in OUT are kept, and one left unfinished goes on from its last saved state. Several commands
    may share OUT: each does what no other is at work on.
    """
    from ..comparison.ablation import Ablation
    from ..comparison.ablation_plan import load_study
    from ..record.run_folder import default_run_path, made_folder

    registry = discover()
    study = load_study(file, registry, seeds=seeds, only=tuple(only), only_data=tuple(data), overrides=tuple(overrides))
    place = chosen_place(on, jobs, devices, resources, say) if not dry_run else None
    with nullcontext(out or default_run_path(file.stem)) if dry_run else made_folder(out, file.stem) as target:
        ablation = Ablation(study, target, registry, say, words_again(context, ELSEWHERE | {"--out"}))
        if one is not None:
            return _run_one(ablation, one)
        states = ablation.states()
        ablation.check(states)
        _show_plan(study, ablation.out, states)
        if not dry_run:
            _execute(ablation, place)


def _run_one(ablation: "Ablation", name: str) -> None:
    from .screen import QuietScreen

    runs = {str(run.place): run for run in ablation.study.runs}
    if name not in runs:
        raise unknown(name, "run", list(runs), "--one")
    with ended_by_signals(DONE, stop=ablation.stop), QuietScreen() as screen:
        ablation.run_one(runs[name], screen)


def _execute(ablation: "Ablation", place: "Place | None") -> None:
    from .screen import QuietScreen

    stopped = ended_by_signals(DONE, stop=ablation.stop) if place is None else nullcontext()
    with stopped, QuietScreen() as screen:
        faults = ablation.execute(place, screen)
    if left := ablation.left_to_others():
        say(f"{len(left)} runs are left to other processes; the last one to end compares all of them")
    else:
        try:
            _compare_finished(ablation)
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserErrors(faults)


def _show_plan(study: "Study", out: Path, states: "dict[AblationRun, State]") -> None:
    for name in study.left_out:
        say(f"left out: data {name}")
    for note in study.notes:
        say(f"note: {note}")
    say(f"{len(states)} runs in {out}, compared with {study.baseline}")
    of_variant: dict[tuple[int, str], list[AblationRun]] = {}
    for run in states:
        of_variant.setdefault((study.data.index(run.data), run.variant), []).append(run)
    for _, runs in sorted(of_variant.items(), key=lambda item: item[0][0]):
        first = runs[0]
        again = "begins again" if first.rescores else "goes on"
        said = {"finished": "finished", "unfinished": f"left unfinished, {again}", "free": "to run"}
        counts = Counter(said[states[run]] for run in runs)
        how = f"scores {first.rescores.parent} again" if first.rescores else f"trains {first.file.name}"
        numbers = ", ".join(f"{count} {state}" for state, count in counts.items())
        say(f"  {first.place.parent}: {how}, seeds {first.seed} to {first.seed + len(runs) - 1}: {numbers}")


def _compare_finished(ablation: "Ablation") -> None:
    """Compare on each data set what is finished there."""
    from ..comparison.compare import compare as compare_groups
    from ..comparison.finished_runs import finished_variants, gather
    from ..comparison.write import write_comparison

    for data in ablation.study.data:
        folder = ablation.out / data
        variants = ablation.study.file.variants
        there = finished_variants(folder, variants)
        if folder / ablation.study.baseline not in there:
            say(f"nothing to compare in {folder}: {ablation.study.baseline} has no finished run")
            continue
        missing = tuple(place for name in variants if (place := folder / name) not in there)
        comparison = compare_groups(gather(there, missing), ablation.study.baseline)
        _show_comparison(comparison, write_comparison(comparison, folder))


def _show_comparison(comparison: "Comparison", written: list[Path]) -> None:
    """Print one table a metric with its verdicts below it, then notes, and the files that were written."""
    from ..comparison.write import screen_table, screen_verdicts, title
    from ..evaluation.class_metrics import heading

    console = PlainConsole()
    console.print_line(f"{title(comparison)}; paired by seed and class", style="bold")
    for metric in comparison.metrics:
        heads, rows = screen_table(comparison, metric)
        console.print(plain_table(heads[0], *numeric(heads[1:]), rows=rows, title=heading(metric)))
        for line in screen_verdicts(comparison, metric):
            console.print_line(line)
    for note in comparison.notes:
        console.print_line(f"note: {note}")
    console.print_line(f"The rule of the verdicts is in {GUIDE}, and in what --json and --out write.")
    if written:
        say(f"written: {', '.join(map(str, written))}")
