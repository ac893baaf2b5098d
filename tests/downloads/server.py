"""A web server on this machine for one file: it answers ranges, or breaks off, or has another file the next time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from ..local_server import listening


@dataclass
class Site:
    """The file, after how many bytes a response ends, and the ranges that were asked for."""

    content: bytes = b""
    breaks_after: int | None = None
    tagged: bool = True
    ranges: list[str | None] = field(default_factory=list)
    address: str = ""

    @property
    def url(self) -> str:
        return f"{self.address}/archive"


@contextmanager
def serving() -> Iterator[Site]:
    """A site that listens on this machine alone."""
    site = Site()
    with listening(_Handler, site=site) as site.address:
        yield site


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        site, asked = self.site, self.headers.get("Range")
        site.ranges.append(asked)
        if self.path == "/file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        if self.path != "/archive":
            self.send_error(404)
            return
        tag, content = f'"{hashlib.sha256(site.content).hexdigest()[:8]}"', site.content
        found = re.fullmatch(r"bytes=(\d+)-", asked or "")
        start = int(found[1]) if found and self.headers.get("If-Range") == tag else 0
        if found and start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if site.tagged:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : None if site.breaks_after is None else start + site.breaks_after])
