"""The `aakit` command. Nothing here imports torch before a command needs it."""

import errno
import sys

import typer

from ..contracts.errors import UserError, not_writable
from .ablate import ablate
from .cache import cache
from .checkpoints import export_checkpoint, import_checkpoint
from .compare import compare
from .data import data
from .debug import set_debugging
from .doctor import doctor
from .evaluate import evaluate
from .gradients import gradients
from .inspect import list_plugins, show
from .new_plugin import new_plugin
from .predict import predict
from .report import report
from .run import run, validate
from .together import refuse_together, tell

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
app.command()(cache)
app.command()(doctor)


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What the system says of a disk that takes in no more."""

IN_MANY_PROCESSES = ("run", "evaluate", "predict")
"""Commands whose work torchrun's processes share."""


@app.callback()
def options(
    context: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Experiments on zero-shot anomaly detection with CLIP."""
    set_debugging(debug)
    if context.invoked_subcommand not in IN_MANY_PROCESSES:
        refuse_together(f"aakit {context.invoked_subcommand}")


def main() -> None:
    """Run the command; a `UserError` becomes one plain message and exit code 2, and so does a full disk."""
    try:
        app(prog_name="aakit")
    except UserError as error:
        tell(error)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        fix = "make room or make the place writable, and give the command again"
        tell(not_writable(error.filename, error, fix))
        sys.exit(2)
