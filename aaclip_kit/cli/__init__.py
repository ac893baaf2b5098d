"""The `aakit` command. Nothing here imports torch before a command needs it."""

import errno
import sys
from collections.abc import Callable

from typer import Context, Exit, Option, Typer
from typer.core import TyperCommand

from ..contracts.errors import UserError, not_writable
from ..version import __version__
from .cache import cache
from .calibrate import calibrate
from .checkpoints import export_checkpoint, import_checkpoint
from .compare import ablate, compare
from .data import data
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .gradients import gradients
from .list_plugins import list_plugins, show
from .new import init, new_plugin
from .predict import predict
from .processes import refuse_many_processes, tell
from .push import push
from .run import report, run, validate
from .serve import serve
from .shots import NumbersAfterK, shots
from .teach import teach
from .terminal import Debugging, escape_what_cannot_be_written, say
from .track import track

app = Typer(
    help="Experiments on zero-shot anomaly detection with CLIP.",
    epilog="Example: aakit init feedback; aakit run feedback.toml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _add(command: Callable[..., None], example: str, cls: type[TyperCommand] | None = None) -> None:
    """Add a command under the first word of its example, which ends its page of `--help` and fits into 80 columns."""
    app.command(example.split()[0], cls=cls, epilog=f"Example: aakit {example}")(command)


_add(init, "init feedback")
_add(run, "run feedback.toml --out runs/first --set seed=7")
_add(validate, "validate feedback.toml ablation.toml")
_add(ablate, "ablate ablation.toml --out runs/ablation --seeds 2")
_add(evaluate, "evaluate runs/first --out evaluation.json")
_add(teach, 'teach good/ --out line.model --real-name "metal nut"')
_add(calibrate, "calibrate runs/first good/ --false-alarms 0.02")
_add(predict, "predict runs/first photos/ --out found --real-name bottle")
_add(serve, "serve line.model --port 8000")
_add(export, "export line.model --to onnx --out line.onnx --images good/")
_add(compare, "compare runs/base runs/feedback --metric pixel_auroc")
_add(shots, "shots feedback.toml --k 0 1 2 4 8 --draws 5 --out runs/shots", NumbersAfterK)
_add(gradients, "gradients feedback.toml --scales 1.0,0.1")
_add(report, "report runs/first")
_add(track, "track runs/first --to tensorboard")
app.add_typer(data, name="data")
_add(list_plugins, "list-plugins | grep loss")
_add(show, "show text_to_image")
_add(new_plugin, "new-plugin my-attention --kind attention-stage")
_add(import_checkpoint, "import-checkpoint loop_3_final.pth --out imported")
_add(export_checkpoint, "export-checkpoint runs/first --out published")
_add(push, "push runs/first --repo ann/lids --private")
_add(cache, "cache --clear")
_add(doctor, "doctor --json")

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What the system says of a disk that takes in no more."""

_REFUSED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE)
"""What it says of a path that it does not let be looked at."""

IN_MANY_PROCESSES = ("run", "evaluate", "predict")
"""Commands whose work torchrun's processes share."""


def _version(wanted: bool) -> None:
    """Print name and version and end the program, before a command is asked for."""
    if wanted:
        say(f"aakit {__version__}")
        raise Exit


@app.callback()
def options(
    context: Context,
    debug: bool = Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = Option(False, "--version", callback=_version, is_eager=True, help="Print the version and end."),
) -> None:
    """Experiments on zero-shot anomaly detection with CLIP."""
    Debugging.on = debug
    if context.invoked_subcommand not in IN_MANY_PROCESSES:
        refuse_many_processes(f"aakit {context.invoked_subcommand}")


def main() -> None:
    """Run the command; a `UserError` becomes one plain message and exit code 2, and so does what the system refuses."""
    escape_what_cannot_be_written()
    try:
        app(prog_name="aakit")
    except UserError as error:
        tell(error)
        sys.exit(2)
    except OSError as error:
        if error.errno in _REFUSED and error.filename is not None:
            fix = "make it readable and, where it is to be written, writable; or name another"
            tell(UserError(f"cannot be used ({error.strerror})", where=str(error.filename), fix=fix))
        elif error.errno in _UNWRITABLE:
            fix = "make room or make the place writable, and give the command again"
            tell(not_writable(error.filename, error, fix))
        else:
            raise
        sys.exit(2)
