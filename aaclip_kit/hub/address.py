"""Addresses of models on the hub: hf://USER/NAME@REVISION#DIGEST."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..contracts.errors import UserError

MAIN: Final = "main"
"""The revision that an address without one means: it moves with every push."""

FORM: Final = "hf://USER/NAME, hf://USER/NAME@REVISION or hf://USER/NAME@REVISION#DIGEST"

_NAME: Final = r"[A-Za-z0-9_](?:[\w-]|\.(?!\.)){0,95}"
_REPOSITORY: Final = re.compile(rf"{_NAME}/{_NAME}", re.ASCII)
_ADDRESS: Final = re.compile(
    rf"hf:/+(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>\w[\w./-]*))?(?:#(?P<digest>[0-9a-f]{{16,64}}))?",
    re.ASCII,
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubAddress:
    """A model's repository, which of its revisions, and, if wanted, the first digits of its list's SHA-256.

    A revision is a branch, a tag or a commit. The digest pins every file, whatever the hub may give.
    """

    repository: str
    revision: str = MAIN
    digest: str | None = None

    @property
    def is_commit(self) -> bool:
        """Whether the revision is one that never changes."""
        return bool(_COMMIT.fullmatch(self.revision))

    def __str__(self) -> str:
        pin = "" if self.digest is None else f"#{self.digest}"
        return f"hf://{self.repository}@{self.revision}{pin}"


def hub_address(path: Path) -> HubAddress | None:
    """Return the address that a path is; None for a place on this machine. Raises `UserError` for a malformed one.

    Of the two slashes a `Path` keeps one.
    """
    if path.parts[:1] != ("hf:",):
        return None
    found = _ADDRESS.fullmatch(path.as_posix())
    if found is None:
        raise UserError("is no address of a model on the hub", where=path.as_posix(), fix=f"write {FORM}")
    return HubAddress(found["repository"], found["revision"] or MAIN, found["digest"])


def check_repository(name: str) -> None:
    """Raise `UserError` for a name that no repository of the hub can have."""
    if not _REPOSITORY.fullmatch(name):
        raise UserError(f"{name!r} is no name of a repository", where="--repo", fix="write USER/NAME, such as ann/lids")
