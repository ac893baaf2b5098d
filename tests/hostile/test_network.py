"""Nothing is fetched that the experiment did not ask for: everything runs where no socket can be made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "feedback.toml"

FORBIDDEN = """
import socket, sys

def forbidden(*arguments, **options):
    print("NETWORK:", arguments, file=sys.stderr)
    raise OSError("the network was asked for")

class Socket(socket.socket):
    # Two processes of one machine may talk.
    def __init__(self, family=-1, *arguments, **options):
        if family != socket.AF_UNIX:
            forbidden(family)
        super().__init__(family, *arguments, **options)

socket.socket = Socket
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = forbidden
import _socket
_socket.getaddrinfo = forbidden
sys.argv = ["aakit", *sys.argv[1:]]
from aaclip_kit.cli import main
main()
"""


def offline(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    # Neither told to stay offline, nor with what an earlier download has left.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "hub"), "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-c", FORBIDDEN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)


SHORT = (
    *("scheduler.text_epochs=[1]", "scheduler.image_epochs=[1]", "scheduler.rate_factors=[1.0]"),
    *("device=cpu", "data.train.shots={normal=2, anomalous=2}", "data.test.shots={normal=2, anomalous=2}"),
)


def test_the_guard_sees_a_connection(tmp_path: Path) -> None:
    code = FORBIDDEN.partition("sys.argv =")[0] + "import urllib.request as u; u.urlopen('http://localhost:9')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert ran.returncode and "NETWORK:" in ran.stderr


def test_a_run_and_what_follows_it_ask_for_no_network(tmp_path: Path) -> None:
    overrides = [word for override in SHORT for word in ("--set", override)]
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 64), (90, 120, 60)).save(images / "a.png")
    for arguments in (
        ["list-plugins"],
        ["validate", EXPERIMENT],
        ["run", EXPERIMENT, "--out", "out", *overrides],
        ["report", "out"],
        ["predict", "out", images, "--uncalibrated", "--out", "scores"],
        ["evaluate", "out", *overrides[6:8]],
    ):
        ran = offline(tmp_path, *arguments)
        assert "NETWORK" not in ran.stderr, arguments
        assert ran.returncode == 0, (arguments, ran.stderr)


@pytest.mark.parametrize("command", [["run", "--dry-run"], ["validate"]])
def test_only_named_weights_are_asked_for(tmp_path: Path, command: list[str]) -> None:
    """A published tag is fetched where a run needs it, and only there."""
    tag = ["--set", "backbone.model=ViT-B-32", "--set", "backbone.pretrained=laion2b_s34b_b79k"]
    ran = offline(tmp_path, command[0], EXPERIMENT, *command[1:], *tag)
    if command[0] == "validate":
        assert ran.returncode == 0 and "NETWORK" not in ran.stderr
    else:
        assert ran.returncode == 2 and "error: " in ran.stderr and "Traceback" not in ran.stderr
