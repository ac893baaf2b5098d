"""`aakit serve`: a trained model as a web service, with a page to drop photographs on."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from typer import Argument, Option

from ..contracts.errors import UserError, in_short
from ..experiment.effects import check_overrides
from ..run.stop import StopRequest
from .evaluate import EXPERIMENT_HELP, MODEL_HELP, TILES_HELP
from .run import SET_HELP, with_shortcuts
from .scoring import Domains, announce, checked_options, loaded
from .signals import ended_by_signals
from .terminal import say

if TYPE_CHECKING:
    from socket import socket

    from ..serve.app import Access
    from ..serve.limits import Limits
    from ..serve.scorer import Scorer

_PACKAGES: Final = ("fastapi", "uvicorn", "python_multipart")
"""What the extra `serve` brings."""

TOKEN_HELP = "What clients must send as Authorization: Bearer TOKEN; best in the variable, which others do not see."


def serve(
    model: Path = Argument(help=MODEL_HELP),
    host: str = Option("127.0.0.1", "--host", help="Address to listen on; others than this machine's need --token."),
    port: int = Option(8000, "--port", min=0, max=65535, help="Port to listen on; 0 takes a free one."),
    token: str | None = Option(None, "--token", envvar="AAKIT_TOKEN", help=TOKEN_HELP, show_default=False),
    class_name: str | None = Option(None, "--class", help="Class of the images, as in training if known there."),
    real_name: str | None = Option(None, "--real-name", help="What prompts call the object: 'metal nut'."),
    domain: Domains | None = Option(None, "--domain", help="Kind of images, which sets the blur; as in training."),
    threshold: float | None = Option(None, "--threshold", help="Image score from which an image is anomalous."),
    map_threshold: float | None = Option(None, "--map-threshold", help="Map value from which a pixel is masked."),
    uncalibrated: bool = Option(False, "--uncalibrated", help="Scores and heatmaps; no threshold but those given."),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
    least_area: int = Option(1, "--least-area", min=1, help="Pixels of the smallest region that a mask has."),
    roi: Path | None = Option(None, "--roi", help="Mask of the images' size: only what is white in it is looked at."),
    ignore: Path | None = Option(None, "--ignore", help="Mask of the images' size: what is white in it is not."),
    tiles: str | None = Option(None, "--tiles", help=TILES_HELP),
    queue: int = Option(64, "--queue", min=1, help="Images that may wait at once; more are answered with 429."),
    most_mb: int = Option(32, "--most-mb", min=1, max=1024, help="MiB of the largest request."),
    most_megapixels: int = Option(50, "--most-megapixels", min=1, max=100, help="Megapixels of the largest image."),
    timeout: float = Option(60, "--timeout", min=1, help="Seconds after which a request is given up."),
    device: str | None = Option(None, "--device", help="auto, cpu, cuda or cuda:N."),
) -> None:
    """Answer requests for scores of images, until Ctrl-C. Answers are those of `aakit predict`."""
    check_overrides(overrides, "scoring", "execution")
    given = checked_options(threshold, map_threshold, class_name, real_name)
    _check_token(token)
    _check_installed()
    with ended_by_signals("what was accepted is answered", ctrl_c_is_good=True) as stop:
        from ..serve.app import Access
        from ..serve.limits import Limits
        from ..serve.scorer import Scorer
        from ..serve.server import bound

        limits = Limits(bytes=most_mb << 20, pixels=most_megapixels * 1_000_000, images=queue, seconds=timeout)
        with bound(host, port, token) as taken:
            built, scoring = loaded(
                model, experiment, with_shortcuts(overrides, device=device), domain=domain, tiles=tiles, given=given,
                uncalibrated=uncalibrated, class_name=class_name, real_name=real_name, least_area=least_area,
                looked_at=(roi, ignore),
            )  # fmt: skip
            scorer = Scorer(built, scoring, _tell)
            announce(built, scorer.names, scoring, given)
            _serve(scorer, limits, taken, Access.of(host, token), stop)


def _serve(scorer: "Scorer", limits: "Limits", taken: "socket", access: "Access", stop: StopRequest) -> None:
    """Answer on a port that is taken until a signal asks for an end, which it raises as `Stopped`."""
    from ..serve.app import Service, application
    from ..serve.server import listen, run

    stop.raise_if_asked()
    app = application(Service(scorer, limits), access)
    say(f"serving     {listen(taken)} (Ctrl-C ends it)")
    with scorer:
        run(app, taken, lambda: stop.number is not None, limits.seconds)
    stop.raise_if_asked()
    raise UserError("the web server has ended by itself", fix="look at what it has printed, and start it again")


def _tell(error: Exception) -> None:
    """Print what a model raised, for whoever runs the service."""
    what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    say(f"error: an image could not be scored: {what}", file=sys.stderr)


def _check_token(token: str | None) -> None:
    """Raise `UserError` for a token that no header can bear."""
    if token is not None and (not token.isascii() or not token.isprintable() or not token or " " in token):
        fix = "give letters, digits and signs without blanks, such as `openssl rand -hex 16` makes"
        raise UserError("is no token", where="--token", fix=fix)


def _check_installed() -> None:
    """Raise `UserError` where the packages of the extra are not there."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        fix = "python -m pip install 'aaclip-kit[serve]'"
        raise UserError(f"needs packages that are not installed: {in_short(missing)}", where="aakit serve", fix=fix)
