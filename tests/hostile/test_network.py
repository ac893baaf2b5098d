"""Nothing is fetched that the experiment did not ask for: everything runs where no socket can be made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
"""
COMMANDS = """
import json
from aaclip_kit.cli import main

for arguments in json.loads(sys.argv[1]):
    sys.argv = ["aakit", *arguments]
    try:
        main()
    except SystemExit as left:
        print(f"\\nCODE {left.code or 0}", file=sys.stderr, flush=True)
"""


class Ended(NamedTuple):
    """Exit code and standard error."""

    code: int
    err: str


def offline(folder: Path, *commands: list[object]) -> Iterator[tuple[list[object], Ended]]:
    """Run these commands one after the other in one process that is on its guard."""
    # Neither told to stay offline, nor with what an earlier download has left.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith(("_OFFLINE", "_proxy", "_PROXY", "HF_TOKEN"))
    }
    environment |= {"OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "hub"), "XDG_CACHE_HOME": str(folder / "cache")}
    given = json.dumps([[str(argument) for argument in arguments] for arguments in commands])
    command = [sys.executable, "-c", FORBIDDEN + COMMANDS, given]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=800)
    assert ran.returncode == 0, ran.stderr
    said = re.split(r"\nCODE (\d+)\n", ran.stderr)
    assert len(said) == 2 * len(commands) + 1, ran.stderr
    for arguments, err, code in zip(commands, said[::2], said[1::2], strict=False):
        yield arguments, Ended(int(code), err)


SHORT = (
    *("scheduler.text_epochs=[1]", "scheduler.image_epochs=[1]", "scheduler.rate_factors=[1.0]"),
    "device=cpu",
    *(f"data.{role}.{at}.shots={{normal=2, anomalous=2}}" for role in ("train", "test") for at in (0, 1)),
)


def test_the_guard_sees_a_connection(tmp_path: Path) -> None:
    code = FORBIDDEN + "import urllib.request as u; u.urlopen('http://localhost:9')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert ran.returncode and "NETWORK:" in ran.stderr


@pytest.mark.slow
def test_a_run_and_what_follows_it_ask_for_no_network(tmp_path: Path) -> None:
    overrides = [word for override in SHORT for word in ("--set", override)]
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 64), (90, 120, 60)).save(images / "a.png")
    commands: tuple[list[object], ...] = (
        ["list-plugins"],
        ["validate", EXPERIMENT],
        ["run", EXPERIMENT, "--out", "out", *overrides],
        ["report", "out"],
        ["predict", "out", images, "--uncalibrated", "--out", "scores"],
        ["evaluate", "out", *overrides[6:8]],
        ["push", "out", "--repo", "ann/lids", "--dry-run", "lids"],
    )
    for arguments, ran in offline(tmp_path, *commands):
        assert "NETWORK" not in ran.err, arguments
        assert ran.code == 0, (arguments, ran.err)


def test_a_hub_and_publishers_are_asked_by_who_names_them_alone(tmp_path: Path) -> None:
    """A model of the hub, and a data set whose licence is accepted; a push without a token asks nobody."""
    fetch: list[object] = ["data", "fetch", "visa"]
    (_, model), (_, shown), (_, accepted), (_, push) = offline(
        tmp_path,
        ["evaluate", "hf://ann/lids"],
        fetch,
        [*fetch, "--accept-licence"],
        ["push", tmp_path, "--repo", "ann/lids"],
    )
    for ran in (model, shown, accepted, push):
        assert ran.code == 2 and "error: " in ran.err and "Traceback" not in ran.err
    assert ["NETWORK" in ran.err for ran in (model, shown, accepted, push)] == [True, False, True, False]


@pytest.mark.slow
def test_only_named_weights_are_asked_for(tmp_path: Path) -> None:
    """A published tag is fetched where a run needs it, and only there."""
    keys = ("use=open_clip", "model=ViT-B-32", "pretrained=laion2b_s34b_b79k")
    tag = [word for key in keys for word in ("--set", f"backbone.{key}")]
    (_, validated), (_, run) = offline(tmp_path, ["validate", EXPERIMENT, *tag], ["run", EXPERIMENT, "--dry-run", *tag])
    assert validated.code == 0 and "NETWORK" not in validated.err
    assert run.code == 2 and "NETWORK" in run.err and "error: " in run.err and "Traceback" not in run.err
