"""`aakit push`: a trained model with its card into a repository of the Hugging Face hub."""

import re
from pathlib import Path, PurePosixPath
from typing import Final

from typer import Argument, Option

from ..contracts.errors import UserError, writing
from ..files.whole_file import write_whole_folder
from ..hub.address import MAIN, HubAddress, check_repository
from ..hub.client import check_token, pushed
from ..hub.file_list import LIST, digest_of
from ..plugin_host.discovery import discover
from .evaluate import EXPERIMENT_HELP, MODEL_HELP
from .fetch import licences
from .run import SET_HELP
from .terminal import say

PIN: Final = 16
"""Digits of the list's SHA-256 in the address that is printed."""

_LICENCE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


def push(
    model: Path = Argument(help=MODEL_HELP),
    repo: str = Option(help="Repository on the hub, USER/NAME; it is made where it is not there."),
    revision: str = Option(MAIN, "--revision", help="Branch to write; it is made where it is not there."),
    private: bool = Option(False, "--private", help="A new repository is private; a public one is refused."),
    licence: str | None = Option(None, "--licence", help="Licence of the trained weights as the hub names it: mit."),
    message: str = Option("A model of aaclip_kit", "--message", help="Message of the commit."),
    dry_run: Path | None = Option(None, "--dry-run", help="Write what would be pushed into this new folder instead."),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
) -> None:
    """Push a model: its tensors, memory, experiment, card, and a list that pins each file. One commit, or none."""
    check_repository(repo)
    _check_licence(licence)
    if dry_run is None:
        check_token(repo)
    elif dry_run.exists():
        raise UserError("is there already", where=str(dry_run), fix="name another folder with --dry-run")
    from ..checkpoints.find_checkpoint import find_trained
    from ..sharing.package import packed

    registry = discover()
    trained = find_trained(model, registry, experiment, overrides)
    package = packed(trained, repository=repo, licence=licence, data_licences=licences(registry))
    for note in package.notes:
        say(f"note        {note}")
    for name, content in package.files.items():
        say(f"{len(content):>11,} bytes  {name}")
    digest = digest_of(package.files[LIST])[:PIN]
    if dry_run is not None:
        with writing(dry_run, "name another folder with --dry-run"):
            write_whole_folder(dry_run, {PurePosixPath(name): content for name, content in package.files.items()})
        say(f"wrote {dry_run}; nothing was pushed")
        return
    commit = pushed(package.files, repo, revision, private=private, message=message)
    say(f"pushed      {HubAddress(repo, commit, digest)}")


def _check_licence(licence: str | None) -> None:
    """Raise `UserError` for what is no name of a licence: it goes into the card's head as it is."""
    if licence is not None and not _LICENCE.fullmatch(licence):
        fix = "give it as the hub names it: apache-2.0, mit, cc-by-nc-sa-4.0, other"
        raise UserError(f"{licence!r} names no licence", where="--licence", fix=fix)
