"""The list of a model's files in a repository, each with its SHA-256: what differs from it is refused."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..contracts.errors import UserError, shortened
from ..files.plain_file import check_plain, checksum_of, read_json, read_plain
from ..version import __version__

FORMAT: Final = "aaclip_kit model 1"

LIST: Final = "aakit.json"
MODEL: Final = "model.safetensors"
BANK: Final = "bank.safetensors"
EXPERIMENT: Final = "experiment.toml"
MANIFEST: Final = "manifest.json"
CARD: Final = "README.md"

Name = Literal["model.safetensors", "bank.safetensors", "experiment.toml", "manifest.json"]
"""The files that a model consists of; no other is fetched, and none of them is a pickle or a program.

The card is not among them: on the hub people add to it.
"""


class Pinned(BaseModel):
    """What a file must be."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class FileList(BaseModel):
    """Every file of the model."""

    model_config = ConfigDict(strict=True, frozen=True)

    format: Literal["aaclip_kit model 1"]
    version: str
    """Of the toolkit that wrote it."""
    files: dict[Name, Pinned]


def list_of(files: Mapping[Name, bytes]) -> bytes:
    """Return the list of a model's files."""
    pinned = {name: {"sha256": digest_of(content), "bytes": len(content)} for name, content in files.items()}
    record = {"format": FORMAT, "version": __version__, "files": pinned}
    return (json.dumps(record, indent=2) + "\n").encode()


def digest_of(content: bytes) -> str:
    """SHA-256 as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_list(path: Path, where: str, digest: str | None = None) -> FileList:
    """Read a list. Raises `UserError` for one that is damaged, newer, or has another SHA-256 than begins so."""
    fix = "fetch another revision, or ask whoever pushed it"
    own = digest_of(read_plain(path, most=1 << 20, fix=fix))
    if digest is not None and not own.startswith(digest):
        problem = f"is not the model that the address pins: the SHA-256 of its {LIST} begins with {own[: len(digest)]}"
        raise UserError(
            problem, where=where, fix="use the address that whoever pushed it gave, or drop what is after #"
        )
    record = read_json(path, fix=fix)
    form = record.get("format")
    if isinstance(form, str) and form.startswith("aaclip_kit model ") and form != FORMAT:
        problem = f"was pushed by another version: its format is {shortened(form, 80)!r}, this one reads {FORMAT!r}"
        raise UserError(problem, where=where, fix="upgrade aaclip-kit, or fetch an earlier revision")
    try:
        found = FileList.model_validate_json(json.dumps(record))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        problem = f"its {LIST} is none of aaclip_kit: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError(problem, where=where, fix=fix) from None
    if lacking := {MODEL, EXPERIMENT} - set(found.files):
        raise UserError(f"its {LIST} names no {min(lacking)}", where=where, fix=fix)
    return found


def check_file(path: Path, pinned: Pinned, where: str) -> None:
    """Raise `UserError` for a file that is missing, or other than the list says."""
    size, own = check_plain(path, fix="fetch it again"), checksum_of(path)
    if (size, own) != (pinned.bytes, pinned.sha256):
        problem = f"{path.name} is damaged or was changed: its SHA-256 is {own}, and {LIST} pins {pinned.sha256}"
        fix = f"remove {path.resolve()} and try again, or fetch another revision"
        raise UserError(problem, where=where, fix=fix)
