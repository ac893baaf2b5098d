"""A service that runs in a thread of this process, and a client of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

from aaclip_kit import TrainedModel
from aaclip_kit.checkpoints.stored_thresholds import stored_thresholds
from aaclip_kit.inference.score_images import Scoring
from aaclip_kit.serve.app import Access, Service, application
from aaclip_kit.serve.limits import Limits
from aaclip_kit.serve.scorer import Scorer
from aaclip_kit.serve.server import bound, listen, run

BOUNDARY = "thirty-two-characters-of-nothing"


class Told(NamedTuple):
    """What a client gets: the status, the body, and the headers."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words."""
        return [fault["problem"] for fault in self.body["faults"]]


def form(*files: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a form with these files."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode() + content
        for name, content in files
    ]
    body = b"".join(part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def files(paths: Sequence[Path]) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in paths]


def asked(url: str, body: bytes | None = None, headers: dict[str, str] | None = None, timeout: float = 60) -> Told:
    """Ask, and return what is answered, whatever its status."""
    request = urllib.request.Request(url, data=body, headers=headers or {})
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read()
        is_json = answer.headers["Content-Type"] == "application/json"
        return Told(answer.status, json.loads(text) if is_json else text.decode(), dict(answer.headers))


@dataclass
class Running:
    """A service, its address, what its model raised, and the switch that ends it."""

    url: str
    service: Service
    faults: list[Exception]
    ended: Event = field(default_factory=Event)

    def predict(self, *files: tuple[str, bytes], query: str = "", **headers: str) -> Told:
        """Send files in a form."""
        body, own = form(*files)
        return asked(f"{self.url}predict{query}", body, {**own, **headers})


@contextmanager
def running(
    model: TrainedModel, limits: Limits | None = None, scoring: Scoring | None = None, token: str | None = None
) -> Iterator[Running]:
    """Serve a model on a free port until the block ends."""
    limits, faults = limits or Limits(), list[Exception]()
    scorer = Scorer(model, scoring or Scoring(thresholds=stored_thresholds(model.trained)), faults.append)
    service = Service(scorer, limits)
    with bound("127.0.0.1", 0, token) as taken, scorer:
        found = Running(listen(taken), service, faults)
        app = application(service, Access.of("127.0.0.1", token))
        thread = Thread(target=run, args=(app, taken, found.ended.is_set, limits.seconds))
        thread.start()
        try:
            yield found
        finally:
            found.ended.set()
            thread.join()
