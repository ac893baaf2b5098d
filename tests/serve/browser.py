"""Chromium without a window, over its pipe: it opens pages, is handed files, and tells what it sees."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip


START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Begins the browser, which reads commands from its descriptor 3 and writes to 4."""


class Tab:
    """A page; `requested` are the addresses that it has asked for, and `complaints` the lines of its console."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._rest, self._number = commands, answers, b"", 0
        self._session: str | None = None
        self.requested, self.complaints = list[str](), list[str]()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Give a command of the DevTools protocol, and return its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def value(self, script: str) -> Any:
        """Return what an expression, or its promise, comes to."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def drop(self, *paths: Path) -> None:
        """Drop files in the middle of the page."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=150, y=150, data=data)

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append(message["params"]["request"]["url"])
        level = message.get("params", {}).get("entry", {}).get("level")
        if message.get("method") == "Runtime.exceptionThrown" or level in ("warning", "error"):
            self.complaints.append(json.dumps(message["params"]))
        return message


@contextmanager
def opened(url: str, folder: Path, width: int) -> Iterator[Tab]:
    """A page in a tab of this width; `folder` is for what the browser keeps."""
    assert BROWSER
    theirs, commands = os.pipe()
    answers, told = os.pipe()
    # Descriptors of one digit would be in each other's way.
    high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (theirs, told)]
    line = [sys.executable, "-c", START, *map(str, high), BROWSER, *FLAGS, f"--user-data-dir={folder}"]
    with subprocess.Popen(line, pass_fds=high, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        for descriptor in (theirs, told, *high):
            os.close(descriptor)
        try:
            tab = Tab(commands, answers)
            tab.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
            )
            tab.call("Page.navigate", url=url)
            while tab.value(f"location.href === {json.dumps(url)} && document.readyState") != "complete":
                time.sleep(0.05)
            yield tab
        finally:
            browser.kill()
            os.close(commands)
            os.close(answers)
