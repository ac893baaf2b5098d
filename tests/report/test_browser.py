"""The report in a headless browser: it renders, complains of nothing, and fits a desktop and a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.report.page import write_report

from .folders import NASTY, new_folder, old_folder

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium, which is not installed")

MARK = "the console is being listened to"
PROBE = """
<script>
addEventListener("load", () => {
  console.error("MARK");
  const every = selector => [...document.querySelectorAll(selector)];
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    images: document.images.length,
    broken: every("img").filter(one => !one.complete || !one.naturalWidth).map(one => one.alt),
    wide: every("main *").filter(one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest("pre"))
      .map(one => one.outerHTML.slice(0, 80)),
    small: every("td, th, p, li, figcaption").filter(one => parseFloat(getComputedStyle(one).fontSize) < 10.5).length,
  }), "*");
});
</script>
</body>""".replace("MARK", MARK)

# A browser's window has a least width, which a frame has not.
FRAME = """<!doctype html><title>frame</title>
<script>addEventListener("message", event => document.body.setAttribute("data-probe", event.data));</script>
<body><iframe src="probed.html" width="%d" height="900" style="border: 0"></iframe></body>"""


def opened(run: RunFolder, width: int) -> tuple[dict[str, Any], list[str]]:
    """What a script in the page measures at this width, and the lines of the browser's console."""
    html = write_report(run.path).read_text(encoding="utf-8")
    probed = html.replace(' loading="lazy"', "").replace("</body>", PROBE)
    (run.path / "probed.html").write_text(probed, encoding="utf-8")
    frame = run.path / "frame.html"
    frame.write_text(FRAME % width, encoding="utf-8")
    assert BROWSER
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
        f"--user-data-dir={run.path / 'browser'}", "--window-size=1400,1000", "--virtual-time-budget=20000",
        "--dump-dom", frame.as_uri(),
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'data-probe="([^"]*)"', ran.stdout)
    assert found, ran.stderr[-2000:]
    console = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(found.group(1))), console


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("folder", [new_folder, old_folder])
def test_it_renders_without_a_complaint_and_never_scrolls_sideways(tmp_path: Path, folder: Any, width: int) -> None:
    second = {"second": NASTY} if folder is new_folder else {}
    measured, console = opened(folder(tmp_path / "run", **second), width)
    assert len(console) == 1 and MARK in console[0], console
    assert measured["width"] == width
    assert measured["page"] <= width
    assert measured["wide"] == []
    assert measured["images"] >= 2
    assert measured["broken"] == []
    assert measured["small"] == 0
