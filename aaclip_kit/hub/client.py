"""Fetching and pushing models with the hub's own client. Nothing else of the toolkit talks to the hub."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..contracts.errors import UserError, shortened
from .address import MAIN, HubAddress
from .file_list import BANK, LIST, MANIFEST, MODEL, check_file, read_list

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_PATIENCE: Final = 20.0
"""Seconds that the hub may take to say what a repository holds."""


def fetched(address: HubAddress) -> Path:
    """Return the checkpoint of a model on the hub, with its other files beside it, in the hub's own cache.

    All files are of one commit, and as its list pins them. A commit that was fetched before needs no network. Raises
    `UserError` where the repository or the network is not there, and for files that are damaged, changed, or of a
    newer version.
    """
    with _told(str(address), "read"):
        commit, local = (address.revision, True) if _is_here(address) else (_commit(address), False)
        listed = read_list(_file(address, commit, LIST, local), str(address), address.digest)
        files = {name: _file(address, commit, name, local) for name in listed.files}
    for name, path in files.items():
        check_file(path, listed.files[name], str(address))
    return files[MODEL]


def _is_here(address: HubAddress) -> bool:
    """Whether the commit was fetched before, with all that its list names."""
    from huggingface_hub import try_to_load_from_cache

    def at(name: str) -> Path | None:
        found = try_to_load_from_cache(address.repository, name, revision=address.revision)
        return Path(found) if isinstance(found, str) else None

    if not address.is_commit or (path := at(LIST)) is None:
        return False
    return all(at(name) for name in read_list(path, str(address), address.digest).files)


def _commit(address: HubAddress) -> str:
    """The commit that a revision is now. Raises `UserError` for a repository that holds no model."""
    info = _api().model_info(address.repository, revision=address.revision, timeout=_PATIENCE)
    if LIST not in {one.rfilename for one in info.siblings or ()}:
        problem = f"holds no model of aaclip_kit: there is no {LIST}"
        raise UserError(problem, where=str(address), fix="name a repository that aakit push has filled")
    return info.sha or address.revision


def _file(address: HubAddress, commit: str, name: str, local: bool) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(str(hf_hub_download(address.repository, name, revision=commit, local_files_only=local)))


def check_token(repository: str) -> None:
    """Raise `UserError` without a token; asks no network."""
    from huggingface_hub import get_token

    if not get_token():
        fix = "make a token that may write at https://huggingface.co/settings/tokens, and give it: hf auth login"
        raise UserError("there is no token, without which nothing can be pushed", where=f"hf://{repository}", fix=fix)


def pushed(files: Mapping[str, bytes], repository: str, revision: str, *, private: bool, message: str) -> str:
    """Put files into a repository in one commit, and take out those of an earlier model; returns the commit.

    A repository that is not there is made, private if that is wanted. Raises `UserError` without a token, where the
    hub cannot be reached or refuses, and for a public repository where a private one is wanted.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    check_token(repository)
    with _told(f"hf://{repository}", "written"):
        api = _api()
        try:
            info = api.model_info(repository, timeout=_PATIENCE)
        except RepositoryNotFoundError:
            api.create_repo(repository, private=private, exist_ok=True)
            info = api.model_info(repository, timeout=_PATIENCE)
        if private and not info.private:
            fix = "make it private on its page, or name another one with --repo"
            raise UserError("is public, and --private asks for a private one", where=f"hf://{repository}", fix=fix)
        try:
            there = api.model_info(repository, revision=revision, timeout=_PATIENCE).siblings or []
        except RevisionNotFoundError:
            api.create_branch(repository, branch=revision, exist_ok=True)
            there = info.siblings or []
        stale = {one.rfilename for one in there} & (_OWN - files.keys())
        operations: list[Any] = [CommitOperationAdd(name, content) for name, content in files.items()]
        operations += [CommitOperationDelete(name) for name in sorted(stale)]
        return str(api.create_commit(repository, operations, commit_message=message, revision=revision).oid)


_OWN: Final = frozenset({BANK, MANIFEST})
"""Files that not every model has: an earlier one may have left them."""


def _api() -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi(library_name="aaclip_kit")


@contextmanager
def _told(where: str, done: str) -> Iterator[None]:
    """Keep the client from printing, and put into words whatever it raises."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    loud, level = not are_progress_bars_disabled(), logging.root.manager.disable
    disable_progress_bars()
    logging.disable(logging.WARNING)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the client passes on whatever its transport raises
        raise _in_words(error, where, done) from error
    finally:
        logging.disable(level)
        if loud:
            enable_progress_bars()


def _in_words(error: BaseException, where: str, done: str) -> UserError:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return UserError("has to be asked for on its page", where=where, fix="ask there, and sign in: hf auth login")
    if isinstance(error, RepositoryNotFoundError):
        fix = "correct USER/NAME; for a private one sign in: hf auth login"
        return UserError("there is no such repository, or you may not see it", where=where, fix=fix)
    if isinstance(error, RevisionNotFoundError):
        return UserError("has no such revision", where=where, fix=f"name a branch, a tag or a commit, such as @{MAIN}")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return UserError("lacks a file that its list names", where=where, fix="fetch another revision")
    if isinstance(error, HFValidationError):
        return UserError("is no name of a repository", where=where, fix="correct USER/NAME")
    while error.__cause__ is not None and not isinstance(error, HfHubHTTPError):  # the transport's own words
        error = error.__cause__
    reason = shortened(next(iter(str(error).strip().splitlines()), type(error).__name__), 300)
    if isinstance(error, HfHubHTTPError) and (status := getattr(error.response, "status_code", None)) is not None:
        hint = "the token may not do that; make one that may write" if status in (401, 403) else "try again later"
        return UserError(f"could not be {done}: the hub answers {status} ({reason})", where=where, fix=hint)
    fix = "look at the connection and at HF_ENDPOINT"
    fix += "; a commit that was fetched before, hf://...@COMMIT, needs none" if done == "read" else ", and push again"
    problem = f"could not be {done}: the hub is not reached, or does not answer as it should ({reason})"
    return UserError(problem, where=where, fix=fix)
