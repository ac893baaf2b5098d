"""What a run shows: its plan before it starts, progress while it goes, a table at the end."""

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from ..contracts.errors import MISSING
from ..contracts.reference import Reference
from ..contracts.schedule import LoopPlan, PhasePlan
from ..data.checks import ONE_SIDED, class_counts
from ..distributed.ranks import ALONE, Ranks
from ..evaluation.class_metrics import METRICS, heading
from ..evaluation.references import cost
from ..experiment.check import REFERENCE, ComponentConfig
from ..record.run_folder import CALIBRATION
from ..report.results_section import red_lines, set_line
from ..report.run_files import named
from ..run.assemble import Run
from ..training.loop_plans import plan_ahead
from ..training.step import Step
from .terminal import PlainConsole, numeric, plain_table, say, three_decimals


class Screen:
    """Implements `run.execute.Screen` with rich."""

    def __init__(self, console: PlainConsole | None = None) -> None:
        self.console = console or PlainConsole()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        numbers = TextColumn("{task.fields[numbers]}")
        self.bar = Progress(*columns, numbers, TimeRemainingColumn(), console=self.console, transient=True)
        self.task: TaskID | None = None

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # the terminal may have gone
            self.bar.stop()

    def plan(self, run: Run, target: Path | None) -> None:
        """Print what will happen: model, stages, data, loops, folder."""
        model, file = run.model, run.experiment.file
        backbone = model.backbone
        plans = plan_ahead(run.scheduler)
        trained = _trained(run, plans)
        frozen = sum(parameter.numel() for parameter in backbone.parameters())
        self.message(f"experiment {file.name}, profile {file.profile}, seed {file.seed}, on {run.compute_device}")
        self.message(
            f"backbone   {backbone.image_size} px, {backbone.grid} x {backbone.grid} patches, levels "
            f"{', '.join(map(str, model.levels))}; {frozen:,} frozen weights, {trained:,} trained"
        )
        if backbone.text is not None:
            self.message(f"prompts    {run.experiment.prompts.component.name}")
        self.message(f"head       {run.experiment.head.component.name}")
        if run.experiment.reference is not None:
            self.message(f"reference  {_remembered(run, run.experiment.reference, measured=target is None)}")
        # Text features are conditioned on the scored image only where the experiment asks for it.
        conditioned = file.evaluation.text_conditioning == "image"
        attends = {name for _, name, stage in run.model.slots.of("text") if stage.context_kind == "image"}
        training_only = set() if conditioned else attends
        for name, chosen in run.experiment.stages.items():
            after = ", ".join(str(block) for block in getattr(chosen.options, "after", ()))
            tower = getattr(chosen.options, "tower", "")
            only = "; acts in training only" if name in training_only else ""
            self.message(f"stage      {name}: {chosen.component.name}, {tower} tower, after block {after}{only}")
        if run.fresh_stages is not None:
            fresh = f"; these stages start fresh: {', '.join(run.fresh_stages)}" if run.fresh_stages else ""
            self.message(f"weights    start from {file.init.checkpoint}{fresh}")
        for role, data in run.data.sets.items():
            counts = class_counts(data.samples).values()
            normal, anomalous = sum(count[0] for count in counts), sum(count[1] for count in counts)
            joined = f" of {' and '.join(run.data.parts[role])}" if len(run.data.parts[role]) > 1 else ""
            counted = f"{len(data.classes)} classes{joined}, {normal} normal and {anomalous} anomalous images"
            self.message(f"{role:10} {counted}: {', '.join(data.classes)}")
        self.data_notes(run)
        self.message(f"thresholds by rule {file.calibration.rule}, on {run.calibration}")
        for number, plan in enumerate(plans, 1):
            self.message(f"loop {number}     {_describe(plan, run.ranks)}")
        if not plans:
            self.message("loops      none: nothing is trained, and the model is quoted as it is")
        for line in run.memory.lines if run.memory and target is None else ():
            self.message(f"memory     {line}")
        if target:
            self.message(f"writes to  {target}")

    def data_notes(self, run: Run) -> None:
        """Print what is to be known of the data: images left out, overlap that was allowed."""
        for note in run.data.notes:
            (self.red if ONE_SIDED in note else self.message)(f"warning    {note}")

    def phase(self, loop: int, plan: PhasePlan, steps: int) -> None:
        """Start a new bar."""
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(f"loop {loop}, {plan.train}", total=steps, numbers="")

    def step(self, step: Step) -> None:
        """Move the bar."""
        if self.task is None:
            return
        numbers = f"epoch {step.epoch}, loss {step.loss:.3f}, rate {step.learning_rate:.1e}"
        self.bar.update(self.task, completed=step.step, numbers=numbers)

    def evaluated(self, loop: int, mean: dict[str, float | None]) -> None:
        """Print one line as soon as it is known."""
        values = ", ".join(f"{heading(key)} {three_decimals(mean[key])}" for key in ("pixel_auroc", "image_auroc"))
        self.message(f"{named(loop)}: {values}, mean over the test classes")

    def message(self, text: str) -> None:
        """Print one plain line."""
        self.console.print_line(text)

    def red(self, text: str) -> None:
        """Print a line that speaks against all others."""
        self.console.print_line(text, style="bold red")

    def stopped(self, text: str) -> None:
        """Print, on standard error, how to go on."""
        say(text, file=sys.stderr)

    def results(self, metrics: dict[str, Any], folder: Path) -> None:
        """Print the loop table, and the classes of the quoted loop."""
        quoted = metrics["quoted"]["loop"]
        self.red_lines(metrics, folder)
        models = [metrics["before"], *metrics["loops"]]
        results = {"rule: " + name.replace("_", " "): result for name, result in metrics["rules"].items()}
        results |= {named(loop): result for loop, result in enumerate(models)}
        rows = [row for name, result in results.items() for row in mean_rows(name, result)]
        self.console.print(metrics_table("mean over test classes", rows))
        when = f"after {named(quoted)}" if quoted else named(quoted)
        self.console.print(metrics_table(f"test class, {when}", class_rows(models[quoted]).items()))
        self.undefined(models[quoted])
        self.message(f"report: {folder / 'report.html'}")
        self.message(f"heatmaps: {folder / 'heatmaps'}")

    def red_lines(self, metrics: dict[str, Any], folder: Path) -> None:
        """Print in red, before any figure, what speaks against those of a finished run."""
        file = folder / CALIBRATION
        calibration = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        for line in red_lines(metrics, calibration):
            self.red(f"warning    {line}")

    def undefined(self, result: dict[str, Any]) -> None:
        """Say below a table why a class has no value for a metric."""
        for name, reasons in result["undefined"].items():
            for reason in dict.fromkeys(reasons.values()):
                metrics = ", ".join(heading(metric) for metric, why in reasons.items() if why == reason)
                self.message(f"{MISSING}  {name}: {metrics}: {reason}")
        for name, part in result.get("pixel_metrics_of", {}).items():
            self.message(f"warning    {name}: pixel metrics are of {part}")


class QuietScreen(Screen):
    """The bar alone, for a run among many."""

    def evaluated(self, loop: int, mean: dict[str, float | None]) -> None:
        """Nothing: the run's line comes when it ends."""

    def message(self, text: str) -> None:
        """Nothing: what a run warned of is read from its folder."""

    def red(self, text: str) -> None:
        """Nothing, likewise."""


def _trained(run: Run, plans: list[LoopPlan]) -> int:
    """How many weights the planned phases train."""
    towers = {phase.train for plan in plans for phase in plan.phases}
    parameters = {key: one for tower in towers for key, one in run.model.trained_parameters(tower).items()}
    return sum(parameter.numel() for parameter in parameters.values())


def _remembered(run: Run, chosen: ComponentConfig, *, measured: bool) -> str:
    """The memory of normal images and its levels; what it will take, `measured` with noise."""
    reference: Reference = run.model.reference  # type: ignore[assignment]  # the experiment has one
    line = f"{chosen.component.name}: levels {', '.join(map(str, reference.levels))}"
    if not measured:
        return line
    most = max(normal for normal, _ in class_counts(run.data.sets[REFERENCE].samples).values())
    size, seconds = cost(reference, run.model.backbone, most)
    return f"{line}; about {size / 1e6:.3g} MB a class of {most} images, {1000 * seconds:,.1f} ms an image on one CPU"


def _describe(plan: LoopPlan, ranks: Ranks = ALONE) -> str:
    parts = []
    for phase in plan.phases:
        seen = f" on {phase.features} image features" if phase.train == "text" else ""
        attention = "" if phase.attention else ", attention off"
        rate = f"rate {phase.optimizer.learning_rate:.1e}"
        batch = batch_in_words(phase.batch_size, ranks)
        parts.append(f"{phase.train}: {phase.epochs} epochs{seen}, batch {batch}, {rate}{attention}")
    return "; ".join(parts)


def batch_in_words(images: int, ranks: Ranks) -> str:
    """Return the images of a batch and, of several processes, how many of them each has."""
    if not ranks.is_distributed:
        return str(images)
    least, most = images // ranks.size, -(-images // ranks.size)
    if least == 0:
        return f"{images} (1 on each of {images} of {ranks.size} devices; the others gain nothing)"
    own = str(least) if least == most else f"{least} or {most}"
    return f"{images} ({own} on each of {ranks.size} devices)"


def class_rows(result: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return the lines of a result: its classes, and the mean of each data set where it is of several."""
    return {**result["classes"], **{set_line(label): mean for label, mean in result.get("sets", {}).items()}}


def mean_rows(name: str, result: dict[str, Any]) -> list[tuple[str, dict[str, float | None]]]:
    """Return the line of a mean and, below it, that of each data set where it is of several."""
    return [(name, result["mean"]), *((f"  {label}", mean) for label, mean in result.get("sets", {}).items())]


def metrics_table(title: str, rows: Iterable[tuple[str, dict[str, float | None]]]) -> Table:
    """Return metrics in columns, one row a name; an en dash where a metric is undefined."""
    cells = ((name, *(three_decimals(values[key]) for key in METRICS)) for name, values in rows)
    return plain_table(Column(title, no_wrap=True), *numeric(map(heading, METRICS)), rows=cells)
