"""Entries of annotation files, checked: whatever stands in place of what a program writes is one plain error."""

import base64
import binascii
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ..contracts.errors import UserError, shortened

DAMAGED = "export the annotations again, or take this entry out of the file"
"""What to do about an entry that the program which is said to write it does not write."""


class Entry(BaseModel):
    """A table in an annotation file; what it has beside the fields is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


_Checked = TypeVar("_Checked", bound=Entry)


def checked(kind: type[_Checked], value: Any, where: str) -> _Checked:
    """The value as an entry of this kind. Raises `UserError` that names the first key which is not as it must be."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        problem = f'"{shortened(key, 100)}": {first["msg"]}' if key else first["msg"]
        raise UserError(problem, where=where, fix=DAMAGED) from None
    except (OverflowError, RecursionError) as error:
        raise UserError(f"holds what is no value ({error})", where=where, fix=DAMAGED) from None


def from_base64(text: str, where: str) -> bytes:
    """What a text in base64 stands for. Raises `UserError`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("is no base64", where=where, fix=DAMAGED) from None
