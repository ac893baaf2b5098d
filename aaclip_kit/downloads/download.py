"""A file from a web server: what has come stays when the connection breaks, and the next try goes on behind it."""

import json
import re
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from ..contracts.errors import UserError, shortened, writing
from ..files.plain_file import read_json
from ..files.whole_file import write_whole
from ..version import __version__

STATE: Final = ".json"
"""What the name of the file beside a download adds: what it is of, so that only the same goes on."""

_PATIENCE: Final = 60.0
"""Seconds without a byte after which a server is given up."""

_AT_ONCE: Final = 1 << 20
_CONTENT_RANGE: Final = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")

Progress = Callable[[int, int | None], None]
"""Is told how many bytes are there, and of how many, where the server says so."""


def download(url: str, target: Path, progress: Progress = lambda there, of: None) -> None:
    """Fetch a file of http or https, behind what an earlier try of the same address has left in `target`.

    What is there is kept only where the server says that its file is still the same. Raises `UserError` where it
    cannot be reached or breaks off; then what has come stays.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise UserError("is no address of a web server", where=url, fix="give one that begins with https://")
    try:
        _fetch(url, target, progress)
    except HTTPError as error:
        fix = "look for the present address on the page of the data set, and give it with --url"
        raise UserError(f"the server answers {error.code} ({error.reason})", where=url, fix=fix) from None
    except (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        reason = shortened(str(getattr(error, "reason", error)) or type(error).__name__, 300)
        raise _broken_off(url, target, reason) from None


def _fetch(url: str, target: Path, progress: Progress) -> None:
    start = _size(target) if (validator := _validator(target, url)) else 0
    with _answer(url, start, validator) as response:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status == 416 and found and found[2] == str(start):
            return
        if response.status == 416:  # it is another file now
            target.unlink()
            _fetch(url, target, progress)
            return
        goes_on = response.status == 206 and found is not None and found[1] == str(start)
        there = start if goes_on else 0
        length = response.headers.get("Content-Length", "")
        of = there + int(length) if length.isascii() and length.isdigit() else None
        with writing(target, "make room, and give the command again"):
            write_whole(_beside(target), json.dumps({"url": url, "validator": _stamp(response.headers)}))
        for part in _parts(response):
            with writing(target, "make room, and give the command again"), target.open("ab" if there else "wb") as file:
                file.write(part)
            there += len(part)
            progress(there, of)
    if of is not None and there < of:
        raise _broken_off(url, target, f"{there:,} of {of:,} bytes came")


def _parts(response: HTTPResponse) -> Iterator[bytes]:
    while part := response.read(_AT_ONCE):
        yield part


@contextmanager
def _answer(url: str, start: int, validator: str | None) -> Iterator[HTTPResponse]:
    headers = {"User-Agent": f"aaclip_kit/{__version__}", "Accept-Encoding": "identity"}
    if start and validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    try:
        response = _opener().open(urllib.request.Request(url, headers=headers), timeout=_PATIENCE)
    except HTTPError as error:
        if error.code != 416 or not start:
            raise
        response = error
    with response:
        yield response


def _opener() -> urllib.request.OpenerDirector:
    """What asks web servers alone: no redirection leads to a file of this machine."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler, urllib.request.HTTPErrorProcessor, urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _stamp(headers: Message) -> str | None:
    """What tells a file from a later one of the same address; None where the server gives nothing that does."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _validator(target: Path, url: str) -> str | None:
    if not (target.is_file() and _beside(target).is_file()):
        return None
    try:
        state = read_json(_beside(target))
    except UserError:
        return None
    value = state.get("validator")
    return value if state.get("url") == url and isinstance(value, str) and value.isprintable() else None


def _beside(target: Path) -> Path:
    return target.with_name(target.name + STATE)


def _size(path: Path) -> int:
    return path.stat().st_size


def _broken_off(url: str, target: Path, reason: str) -> UserError:
    there = _size(target) if target.is_file() else 0
    kept = f"; {there:,} bytes are kept, and the same command goes on behind them" if there else ""
    fix = f"look at the connection, and give the command again{kept}"
    return UserError(f"could not be fetched whole ({reason})", where=url, fix=fix)


def forget(target: Path) -> None:
    """Remove a download, so that the next one begins anew."""
    for path in (target, _beside(target)):
        path.unlink(missing_ok=True)
