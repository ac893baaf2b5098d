"""`aakit serve` under load: many clients at once, killed and restarted on the way if wanted, beside `aakit predict`.

    python benchmarks/serve.py MODEL IMAGES --seconds 300 --clients 16 [--kill-every 60]

Prints how many requests were answered, refused as busy, or lost; how many answers differ from predict's; and how long
an answer took. A score may differ by one unit of its fourth digit, since a batch of another size changes the last bits.
"""

import argparse
import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

import numpy as np
from machine import describe

BOUNDARY: Final = "a-boundary-that-no-picture-holds"
PATIENCE: Final = 300.0
"""Seconds in which a service is to have begun."""

_COMPARED: Final = ("decision", "good_above", "region_count", "threshold", "map_threshold")


class Clients:
    """Ask for one image after another, and compare each answer with the line that predict wrote."""

    def __init__(self, port: int, images: list[Path], lines: dict[str, Any], until: float) -> None:
        self.port, self.images, self.lines, self.until = port, images, lines, until
        self.counts, self.times, self._lock = Counter[str](), list[float](), Lock()

    def run(self, number: int) -> None:
        """Ask until the time is over."""
        drawn = random.Random(number)
        while time.monotonic() < self.until:
            image, begun = drawn.choice(self.images), time.monotonic()
            what = self._asked(image)
            with self._lock:
                self.counts[what] += 1
                self.times += [time.monotonic() - begun] if what.startswith("answered") else []
            if what in ("busy", "error"):
                time.sleep(0.5)

    def _asked(self, image: Path) -> str:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{image.name}"\r\n\r\n'
        body = head.encode() + image.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            connection.request("POST", "/predict", body, kind)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            return "error"
        finally:
            connection.close()
        if answer.status != 200:
            return "busy" if answer.status == 429 else f"status {answer.status}"
        (result,) = json.loads(text)["results"]
        return compared(result, self.lines[str(image)])


def compared(result: dict[str, Any], line: dict[str, Any]) -> str:
    """Whether an answer is predict's."""
    if any(result[key] != line[key] for key in _COMPARED):
        return "answered otherwise"
    if result["score"] == line["score"]:
        return "answered alike"
    near = abs(result["score"] - line["score"]) <= 1.001e-3 * abs(line["score"])
    return "answered alike but for the fourth digit" if near else "answered otherwise"


def predicted(model: Path, images: Path) -> dict[str, Any]:
    """The lines of `aakit predict`, by the image's path."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "aaclip_kit", "predict", str(model), str(images), "--out", f"{folder}/out"]
        subprocess.run([*command, "--device", "cpu"], check=True, stdout=subprocess.DEVNULL)
        text = (Path(folder) / "out" / "scores.jsonl").read_text(encoding="utf-8")
    return {line["path"]: line for line in map(json.loads, text.splitlines())}


def started(model: Path, port: int) -> "subprocess.Popen[bytes]":
    """The service, once it listens. Exits where it does not."""
    command = [sys.executable, "-m", "aaclip_kit", "serve", str(model), "--port", str(port), "--device", "cpu"]
    process, until = subprocess.Popen(command, stdout=subprocess.DEVNULL), time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.2)
    process.kill()
    sys.exit("the service did not begin")


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--kill-every", type=float, default=0)
    given = parser.parse_args()
    lines = predicted(given.model, given.images)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process, kills = started(given.model, port), 0
    begun = time.monotonic()
    clients = Clients(port, [Path(path) for path in lines], lines, begun + given.seconds)
    threads = [Thread(target=clients.run, args=(number,)) for number in range(given.clients)]
    for thread in threads:
        thread.start()
    while given.kill_every and time.monotonic() + given.kill_every < clients.until:
        time.sleep(given.kill_every)
        process.kill()
        process.wait()
        process, kills = started(given.model, port), kills + 1
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    process.send_signal(signal.SIGTERM)
    print(describe())
    print(f"{given.clients} clients, {took:.0f} s, {kills} kills; the service ended with {process.wait(60)}")
    for what, count in sorted(clients.counts.items()):
        print(f"{count:8,} {what}")
    if clients.times:
        half, most = np.quantile(clients.times, [0.5, 0.99])
        print(f"{len(clients.times) / took:.1f} answers a second; half within {half:.2f} s, 99 % within {most:.2f} s")


if __name__ == "__main__":
    main()
