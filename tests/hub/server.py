"""A small hub on this machine: the part of the protocol that its client uses for models, one repository and all."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from ..local_server import listening

TOKEN = "hf_" + "a" * 34
READS_ONLY = "hf_" + "b" * 34

Files = dict[str, bytes]


@dataclass
class Repository:
    """Commits by their digest, oldest first, and the commit that each branch is at."""

    private: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def at(self, revision: str) -> tuple[str, Files] | None:
        commit = self.branches.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None

    def commit(self, branch: str, files: Files) -> str:
        """A new commit of these files alone."""
        state = json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
        digest = hashlib.sha1(f"{len(self.commits)} {state}".encode()).hexdigest()
        self.commits[digest] = files
        self.branches[branch] = digest
        return digest


@dataclass
class Hub:
    """What the server holds, and what it was asked for."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    """What was uploaded by LFS and waits for its commit, by SHA-256."""
    asked: list[str] = field(default_factory=list)
    large: bool = False
    """Whether safetensors go through LFS, as on the real hub, or with the commit."""

    def make(self, name: str, private: bool = False) -> Repository:
        repository = self.repositories[name] = Repository(private)
        repository.commit("main", {".gitattributes": b""})
        return repository


class Refused(Exception):
    def __init__(self, status: int, code: str = "") -> None:
        self.status, self.code = status, code


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that listens on this machine alone."""
    hub = Hub()
    with listening(_Handler, hub=hub) as hub.endpoint:
        yield hub


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        try:
            for method, pattern, name in _ROUTES:
                if self.command in method and (found := re.fullmatch(pattern, path)):
                    content, headers = getattr(self, name)(body, **found.groupdict())
                    break
            else:
                raise Refused(404)
            status = 200
        except Refused as refused:
            status, content = refused.status, b"{}"
            headers = {"X-Error-Code": refused.code} if refused.code else {}
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _check_writer(self) -> None:
        if self._token() != TOKEN:
            raise Refused(403 if self._token() == READS_ONLY else 401)

    def _repository(self, repo: str) -> Repository:
        found = self.hub.repositories.get(repo)
        if found is None or (found.private and self._token() not in (TOKEN, READS_ONLY)):
            raise Refused(401 if found is None and not self._token() else 404, "RepoNotFound")
        return found

    def _at(self, repo: str, revision: str) -> tuple[str, Files]:
        found = self._repository(repo).at(revision)
        if found is None:
            raise Refused(404, "RevisionNotFound")
        return found

    def info(self, body: bytes, repo: str, revision: str = "main") -> tuple[bytes, dict[str, str]]:
        commit, files = self._at(repo, revision)
        listed = [{"rfilename": name} for name in files]
        private = self.hub.repositories[repo].private
        return _json({"_id": "1", "id": repo, "sha": commit, "private": private, "siblings": listed})

    def create(self, body: bytes) -> tuple[bytes, dict[str, str]]:
        self._check_writer()
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        self.hub.make(name, bool(asked.get("private")) or asked.get("visibility") == "private")
        return _json({"url": f"{self.hub.endpoint}/{name}"})

    def branch(self, body: bytes, repo: str, revision: str) -> tuple[bytes, dict[str, str]]:
        self._check_writer()
        repository = self._repository(repo)
        repository.branches[revision] = repository.branches["main"]
        return _json({})

    def preupload(self, body: bytes, repo: str, revision: str) -> tuple[bytes, dict[str, str]]:
        self._check_writer()
        self._at(repo, revision)
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if self.hub.large and file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return _json({"files": modes})

    def batch(self, body: bytes, repo: str) -> tuple[bytes, dict[str, str]]:
        self._check_writer()
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{one['oid']}"}}}
            for one in json.loads(body)["objects"]
        ]
        return _json({"transfer": "basic", "objects": objects})

    def store(self, body: bytes, oid: str) -> tuple[bytes, dict[str, str]]:
        self.hub.stored[oid] = body
        return b"", {}

    def yaml(self, body: bytes) -> tuple[bytes, dict[str, str]]:
        return _json({"errors": [], "warnings": []})

    def commit(self, body: bytes, repo: str, revision: str) -> tuple[bytes, dict[str, str]]:
        self._check_writer()
        _, before = self._at(repo, revision)
        files = dict(before)
        for line in body.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.stored.pop(value["oid"])
            elif key == "deletedFile":
                del files[value["path"]]
        oid = self._repository(repo).commit(revision, files)
        return _json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.endpoint}/{repo}/commit/{oid}"})

    def file(self, body: bytes, repo: str, revision: str, name: str) -> tuple[bytes, dict[str, str]]:
        commit, files = self._at(repo, revision)
        if name not in files:
            raise Refused(404, "EntryNotFound")
        digest = hashlib.sha256(files[name]).hexdigest()
        return files[name], {"ETag": f'"{digest}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}


def _json(value: object) -> tuple[bytes, dict[str, str]]:
    return json.dumps(value).encode(), {"Content-Type": "application/json"}


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>.+)"
_ROUTES = (
    (("POST",), r"/api/repos/create", "create"),
    (("POST",), r"/api/validate-yaml", "yaml"),
    (("GET",), rf"/api/models/{_REPO}", "info"),
    (("GET",), rf"/api/models/{_REPO}/revision/{_REVISION}", "info"),
    (("POST",), rf"/api/models/{_REPO}/branch/{_REVISION}", "branch"),
    (("POST",), rf"/api/models/{_REPO}/preupload/{_REVISION}", "preupload"),
    (("POST",), rf"/api/models/{_REPO}/commit/{_REVISION}", "commit"),
    (("POST",), rf"/{_REPO}\.git/info/lfs/objects/batch", "batch"),
    (("PUT",), r"/lfs/(?P<oid>[0-9a-f]{64})", "store"),
    (("GET", "HEAD"), rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>[^/]+)", "file"),
)
