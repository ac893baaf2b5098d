"""The images of a request: files of a form, or base64 in JSON."""

import base64
import binascii
import json
from collections.abc import AsyncGenerator
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from ..contracts.errors import UserError
from .limits import Refusal, refusal

FORM, JSON = "multipart/form-data", "application/json"

_HOW: Final = 'curl -F image=@a.png, or JSON: {"images": [{"name": "a.png", "content": BASE64}]}'


class Upload(NamedTuple):
    """A file that a client has sent: what it calls it, and what it holds."""

    name: str
    content: bytes


class Encoded(BaseModel):
    """A file in base64."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(None, description="what the answer calls it; by default its number")
    content: str = Field(description="the file's bytes in base64")


class Images(BaseModel):
    """Files in base64."""

    model_config = ConfigDict(extra="forbid")
    images: list[Encoded] = Field(min_length=1, description="one or several files")


def request_body() -> dict[str, Any]:
    """Return what OpenAPI says of the bodies that `uploads_in` reads."""
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "one or several files"}
    schema = Images.model_json_schema(ref_template="#/components/schemas/{model}")
    encoded = {
        **schema,
        "properties": {"images": {**schema["properties"]["images"], "items": schema["$defs"]["Encoded"]}},
    }
    del encoded["$defs"]
    form = {"type": "object", "properties": {"image": files}, "required": ["image"]}
    return {"required": True, "content": {FORM: {"schema": form}, JSON: {"schema": encoded}}}


def announced_bytes(request: Request) -> int:
    """Return the size that a request says its body has. Raises `Refusal` where it says none."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise refusal(411, "the request does not say how long it is", "send it with Content-Length, not in chunks")
    return int(length)


async def uploads_in(request: Request, most: int) -> list[Upload]:
    """Read the files of a request. Raises `Refusal` for a body without any, or of another kind."""
    try:
        body = await request.body()
    except ClientDisconnect:
        raise refusal(400, "the request broke off", "send it again") from None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        return await _of_form(request, body, most)
    if kind == JSON:
        return _of_json(body)
    raise refusal(415, "the request is neither a form with files nor JSON", _HOW)


class _InMemory(MultiPartParser):
    """Leaves no file on a disk; how much there can be is known by now."""

    spool_max_size = 1 << 62


async def _of_form(request: Request, body: bytes, most: int) -> list[Upload]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _InMemory(request.headers, once(), max_files=most, max_fields=most).parse()
    except MultiPartException as error:
        raise refusal(400, f"the form cannot be read: {error.message}", _HOW) from None
    uploads = list[Upload]()
    try:
        for field, value in form.multi_items():
            if not isinstance(value, UploadFile):
                raise refusal(422, f"the field {field[:80]!r} holds no file", f"mind the @ before its name: {_HOW}")
            uploads.append(Upload(value.filename or f"image {len(uploads) + 1}", await value.read()))
    finally:
        await form.close()
    if not uploads:
        raise refusal(422, "the form holds no file", _HOW)
    return uploads


def _of_json(body: bytes) -> list[Upload]:
    try:
        given = Images.model_validate(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise refusal(422, f"the JSON is not as it should be: {_in_words(error)}", _HOW) from None
    uploads, faults = list[Upload](), list[UserError]()
    for number, image in enumerate(given.images, start=1):
        name = image.name or f"image {number}"
        try:
            uploads.append(Upload(name, base64.b64decode("".join(image.content.split()), validate=True)))
        except (binascii.Error, ValueError):
            fix = "encode the file's bytes, without a prefix such as data:"
            faults.append(UserError("its content is no base64", where=name, fix=fix))
    if faults:
        raise Refusal(422, *faults)
    return uploads


def _in_words(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "the whole"
    return f"{place}: {first['msg']}"
