"""`aakit serve`: what it refuses before it begins, how it ends, and what its clients see when it is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from ..command import Command
from ..serve.running import asked, files, form
from .conftest import assert_plain


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_what_the_service_refuses_before_it_begins(
    aakit: Command, trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        refused = {
            f"port {taken}: another program uses it": (trained, "--port", taken),
            "--host 0.0.0.0: lets every machine of the network in": (trained, "--host", "0.0.0.0"),
            "--host no.such.host.invalid: is no address": (trained, "--host", "no.such.host.invalid"),
            "--token: is no token": (trained, "--token", "two words"),
            "none: there is no such checkpoint": (place / "none", "--port", 0),
            "--tiles": (trained, "--port", 0, "--tiles", "many"),
            "holds no threshold": (trained, "--port", 0, "--tiles", "2"),
            "--threshold": (trained, "--threshold", "nan"),
        }
        for problem, arguments in refused.items():
            ran = aakit("serve", *arguments)
            assert_plain(ran)
            assert problem in ran.err, ran.err
    # The package has the command under the module's name.
    monkeypatch.setattr(sys.modules["aaclip_kit.cli.serve"], "_PACKAGES", ("fastapi", "no_such_package"))
    ran = aakit("serve", trained)
    assert_plain(ran)
    assert "not installed: no_such_package" in ran.err and "aaclip-kit[serve]" in ran.err


@contextmanager
def serving(model: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, once it listens."""
    line = [sys.executable, "-m", "aaclip_kit", "serve", model, "--port", port, "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        list(map(str, line)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout
            while "serving " not in (line_of := process.stdout.readline()):
                assert line_of, process.stderr and process.stderr.read()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 0, marks=pytest.mark.slow)]
)
def test_a_signal_ends_it_when_what_was_accepted_is_answered(
    trained: Path, defects: Path, port: int, number: signal.Signals, code: int
) -> None:
    images = sorted(defects.rglob("test/*/*.png"))
    with serving(trained, port) as process, ThreadPoolExecutor(1) as clients:
        body, headers = form(*files(images * 3))
        accepted = clients.submit(asked, f"http://127.0.0.1:{port}/predict", body, headers)
        until = time.monotonic() + 30
        while not asked(f"http://127.0.0.1:{port}/health").body["waiting"]:
            assert time.monotonic() < until and not accepted.done()
        process.send_signal(number)
        assert len(accepted.result().body["results"]) == 3 * len(images)
        assert process.wait(60) == code
        assert process.stdout and f"stopped by {number.name}: what was accepted is answered" in process.stdout.read()
        assert process.stderr and process.stderr.read() == ""


def rounded(result: dict[str, Any]) -> dict[str, Any]:
    """An answer without what may change with the batch: the last digits."""
    kept = ("name", "decision", "good_above", "threshold", "map_threshold", "region_count")
    return {**{key: result[key] for key in kept}, "score": round(result["score"], 2)}


@pytest.mark.slow
def test_clients_of_a_service_that_is_killed_get_errors_and_never_a_wrong_answer(
    trained: Path, defects: Path, port: int
) -> None:
    images = sorted(defects.rglob("test/*/*.png"))
    url, stop = f"http://127.0.0.1:{port}/", time.monotonic() + 600
    expected, seen, errors, state = dict[str, str](), list[tuple[str, str]](), list[Exception](), {"running": True}

    def said(image: Path) -> str:
        body, headers = form((str(image), image.read_bytes()))
        told = asked(f"{url}predict", body, headers)
        assert told.status in (200, 429), told
        return "" if told.status == 429 else json.dumps(rounded(told.body["results"][0]))

    def ask(first: int) -> None:
        place = first
        while state["running"] and time.monotonic() < stop:
            place += 1
            image = images[place % len(images)]
            try:
                seen.append((str(image), said(image)))
            except (OSError, HTTPException) as error:  # cut off in the middle of an answer, too
                errors.append(error)
                time.sleep(0.05)

    with serving(trained, port):
        expected.update({str(image): said(image) for image in images})
    with ThreadPoolExecutor(6) as clients:
        asking = [clients.submit(ask, first) for first in range(6)]
        try:
            for _ in range(2):
                with serving(trained, port):
                    count = len(seen)
                    while len(seen) < count + 40:
                        time.sleep(0.05)
        finally:
            state["running"] = False
        for one in asking:
            one.result()
    assert errors and len(seen) >= 80
    assert not [image for image, answer in seen if answer and answer != expected[image]]
