"""What the service does not take, in plain words, and what it does when there is too much to do."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image

from aaclip_kit import TrainedModel
from aaclip_kit.serve.limits import Limits

from .running import Running, asked, files, form, running

JSON = {"Content-Type": "application/json"}


def png(width: int, height: int) -> bytes:
    Image.new("RGB", (width, height)).save(out := BytesIO(), "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def small(model: TrainedModel) -> Iterator[Running]:
    with running(model, Limits(bytes=20_000, pixels=10_000, images=3)) as found:
        yield found


REFUSED: dict[str, tuple[Callable[[Running], Any], int, str]] = {
    "bytes": (lambda it: it.predict(("a.png", bytes(30_000))), 413, "bytes, and 20,000 are the most"),
    "images": (lambda it: it.predict(*[("a.png", png(9, 9))] * 4), 400, "Too many files"),
    "pixels": (lambda it: it.predict(("a.png", png(200, 60))), 422, "more than 10,000 pixels"),
    "tiny": (lambda it: it.predict(("a.png", png(5, 9))), 422, "is 5 x 9 pixels"),
    "no image": (lambda it: it.predict(("a.png", b"no image")), 422, "is no image in PNG, JPEG"),
    "empty": (lambda it: it.predict(("a.png", b"")), 422, "is no image in PNG, JPEG"),
    "no file": (lambda it: it.predict(), 422, "holds no file"),
    "text": (lambda it: asked(f"{it.url}predict", b"x", {"Content-Type": "text/plain"}), 415, "neither a form"),
    "no JSON": (lambda it: asked(f"{it.url}predict", b"{", JSON), 422, "the JSON is not"),
    "deep JSON": (lambda it: asked(f"{it.url}predict", b"[" * 15_000, JSON), 422, "the JSON is not"),
    "other JSON": (lambda it: asked(f"{it.url}predict", b'{"images": []}', JSON), 422, "images: "),
    "base64": (lambda it: asked(f"{it.url}predict", b'{"images": [{"content": "?"}]}', JSON), 422, "no base64"),
    "query": (lambda it: it.predict(("a.png", png(9, 9)), query="?pictures=all"), 422, "pictures"),
    "form": (lambda it: asked(f"{it.url}predict", b"x", form()[1]), 400, "the form cannot be read"),
    "nothing": (lambda it: asked(f"{it.url}nothing"), 404, "Not Found"),
    "method": (lambda it: asked(f"{it.url}predict"), 405, "Method Not Allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_in_one_form(small: Running, name: str, tmp_path: Path) -> None:
    ask, status, problem = REFUSED[name]
    told = ask(small)
    assert told.status == status, told
    assert len(told.problems) == 1 and problem in told.problems[0]
    assert told.body["faults"][0]["fix"]
    text = json.dumps(told.body)
    assert "/tmp" not in text and ".py" not in text and "\\u0000" not in text


def test_all_bad_images_are_named_and_none_is_scored(served: Running, images: list[Path]) -> None:
    told = served.predict(("a\x1b.png", b"?"), *files(images[:1]), ("b.png", png(3, 3)))
    assert told.status == 422
    assert [fault["image"] for fault in told.body["faults"]] == ["a\\x1b.png", "b.png"]


def test_pages_count_as_images(small: Running) -> None:
    pages = [Image.new("RGB", (9, 9), (shade, 0, 0)) for shade in range(4)]
    pages[0].save(out := BytesIO(), "TIFF", save_all=True, append_images=pages[1:])
    assert small.predict(("scan.tif", out.getvalue())).status == 413
    assert small.service.budgets.images.taken == 0


def test_a_body_without_a_length_is_refused(served: Running) -> None:
    connection = http.client.HTTPConnection(served.url.removeprefix("http://").strip("/"), timeout=30)
    connection.request("POST", "/predict", iter([b"x"]), form()[1], encode_chunked=True)
    assert connection.getresponse().status == 411
    connection.close()


def test_a_body_that_does_not_come_is_given_up(model: TrainedModel) -> None:
    with running(model, Limits(seconds=0.3)) as served:
        host, port = served.url.removeprefix("http://").strip("/").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\nhalf")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        assert served.service.budgets.bodies.taken == 0


def test_a_token_is_asked_for(model: TrainedModel, images: list[Path]) -> None:
    with running(model, token="sesame") as served:
        for header in ({}, {"Authorization": "Bearer open"}, {"Authorization": "Basic sesame"}):
            refused = served.predict(*files(images[:1]), **header)
            assert refused.status == 401 and refused.headers["www-authenticate"] == "Bearer"
            assert asked(f"{served.url}model", headers=header).status == 401
        assert served.predict(*files(images[:1]), Authorization="Bearer sesame", Host="any.org").status == 200
        for free in ("", "health", "docs"):
            assert asked(f"{served.url}{free}").status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.org", 421),
        ("evil.org:80", 421),
        ("localhost:9", 200),
        ("[::1]:9", 200),
        ("[::1]", 200),
        ("LOCALHOST", 200),
    ],
)
def test_other_names_of_this_machine_are_no_way_in(served: Running, host: str, status: int) -> None:
    assert asked(f"{served.url}model", headers={"Host": host}).status == status


class Gate:
    """Lets nobody score until it is opened, and counts the images of each batch."""

    def __init__(self, model: TrainedModel) -> None:
        self.is_open, self.entered, self.batches, self._predictions = Event(), Event(), list[int](), model.predictions

    def __call__(self, data: Any, *others: Any, **options: Any) -> Iterator[Any]:
        self.batches.append(len(data.samples))
        self.entered.set()
        assert self.is_open.wait(60)
        return self._predictions(data, *others, **options)


@contextmanager
def gated(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(model)
    monkeypatch.setattr(model, "predictions", gate)
    try:
        yield gate
    finally:
        gate.is_open.set()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_arrives_together_is_one_batch_and_what_is_too_much_is_told_so(
    model: TrainedModel, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        gated(model, monkeypatch) as gate, running(model, Limits(images=6)) as served, ThreadPoolExecutor(8) as clients,
    ):  # fmt: skip
        first = clients.submit(served.predict, *files(images[:1]))
        assert gate.entered.wait(30)
        others = [clients.submit(served.predict, *files([image])) for image in images[1:6]]
        until(lambda: served.service.scorer.waiting == 5)
        busy = served.predict(*files(images[:1]))
        assert busy.status == 429 and busy.headers["retry-after"] == "1"
        assert asked(f"{served.url}health").body == {"status": "ok", "waiting": 6}
        gate.is_open.set()
        assert [one.result().status for one in (first, *others)] == [200] * 6
        assert [one.result().body["results"][0]["name"] for one in others] == [image.name for image in images[1:6]]
        assert sum(gate.batches) == 6 and len(gate.batches) == 1 + -(-5 // model.evaluator.table.batch_size)
        assert served.predict(*files(images[:1])).status == 200


def test_an_answer_that_comes_too_late_is_given_up_and_what_waits_is_not_scored(
    model: TrainedModel, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        gated(model, monkeypatch) as gate,
        running(model, Limits(seconds=0.5)) as served,
        ThreadPoolExecutor(2) as clients,
    ):
        first = clients.submit(served.predict, *files(images[:1]))
        assert gate.entered.wait(30)
        late = served.predict(*files(images[1:3]))
        assert late.status == first.result().status == 504
        assert "within 0.5 s" in late.problems[0]
        gate.is_open.set()
    assert gate.batches == [1]
    assert served.service.budgets.images.taken == 0


def test_a_bad_image_of_a_batch_does_not_harm_the_others(
    model: TrainedModel, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, secret = model.predictions, "a fault in secret/place.py"

    def some_fail(data: Any, sizes: Any, *others: Any, **options: Any) -> Iterator[Any]:
        if (33, 40) in sizes:
            raise RuntimeError(secret)
        return predictions(data, sizes, *others, **options)

    with gated(model, monkeypatch) as gate, running(model) as served, ThreadPoolExecutor(8) as clients:
        gate._predictions = some_fail
        first = clients.submit(served.predict, *files(images[:1]))
        assert gate.entered.wait(30)
        good = [clients.submit(served.predict, *files([image])) for image in images[1:3]]
        bad = clients.submit(served.predict, ("bad.png", png(33, 40)))
        until(lambda: served.service.scorer.waiting == 3)
        gate.is_open.set()
        assert [one.result().status for one in (first, *good)] == [200] * 3
        assert bad.result().status == 500 and secret not in str(bad.result().body)
        assert [str(fault) for fault in served.faults] == [secret]
        assert served.predict(*files(images[:1])).status == 200


def test_what_was_accepted_is_answered_when_the_service_ends(
    model: TrainedModel, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(4) as clients, gated(model, monkeypatch) as gate, running(model) as served:
        accepted = [clients.submit(served.predict, *files([image])) for image in images[:3]]
        until(lambda: served.service.budgets.images.taken == 3 and gate.entered.is_set())
        served.ended.set()
        time.sleep(0.5)
        with pytest.raises(OSError):
            served.predict(*files(images[:1]))
        gate.is_open.set()
        assert [one.result().status for one in accepted] == [200] * 3
