"""The `aakit` command. Nothing here imports torch before a command needs it."""

import sys
import traceback

import typer

from ..contracts.errors import UserError
from .ablate import ablate
from .checkpoints import export_checkpoint, import_checkpoint
from .compare import compare
from .data import data
from .debug import debugging, set_debugging
from .evaluate import evaluate
from .gradients import gradients
from .inspect import list_plugins, show
from .new_plugin import new_plugin
from .predict import predict
from .report import report
from .run import run, validate

app = typer.Typer(
    help="Experiments on zero-shot anomaly detection with CLIP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run)
app.command()(validate)
app.command()(ablate)
app.command()(evaluate)
app.command()(predict)
app.command()(compare)
app.command()(gradients)
app.command()(report)
app.add_typer(data, name="data")
app.command("list-plugins")(list_plugins)
app.command()(show)
app.command("new-plugin")(new_plugin)
app.command("import-checkpoint")(import_checkpoint)
app.command("export-checkpoint")(export_checkpoint)


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Experiments on zero-shot anomaly detection with CLIP."""
    set_debugging(debug)


def main() -> None:
    """Run the command; a `UserError` becomes one plain message and exit code 2."""
    try:
        app(prog_name="aakit")
    except UserError as error:
        if debugging():
            traceback.print_exc()
            for fault in error.faults:
                if fault is not error and fault.__cause__ is not None:
                    traceback.print_exception(fault)
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
