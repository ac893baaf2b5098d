"""A tiny study whose trainings are counted, and the command in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..comparison.made import STUDY

ROOT = Path(__file__).parents[2]

COUNTS = """
import os
import time
from pathlib import Path
from aaclip_kit import Loss, Options, hookimpl

class CountsOptions(Options):
    \"\"\"Notes in a file each training that begins, and takes its time.\"\"\"

class Counts(Loss):
    needs = ("level_probabilities",)
    over_batch = "mean"

    def __init__(self, options):
        super().__init__()
        self.is_noted = False

    def forward(self, *, level_probabilities):
        if not self.is_noted:
            self.is_noted = True
            with Path(os.environ["AAKIT_COUNTED"]).open("a") as file:
                file.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
        time.sleep(float(os.environ.get("AAKIT_SLOW", "0")))
        return {"mean": sum(found.mean() for found in level_probabilities.values())}

@hookimpl
def register_losses(register):
    register("counts", Counts, CountsOptions)
"""


@pytest.fixture
def study(small_experiment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two variants of two seeds that train for two loops, and one that scores weights again; nothing is drawn."""
    (tmp_path / "counts.py").write_text(COUNTS)
    text = small_experiment.read_text().replace(
        '[losses.text.segmentation]\nuse = "segmentation"', "[losses.text.counts]\nuse = 'counts'"
    )
    small_experiment.write_text(
        f'plugins = ["./counts.py"]\n{text}\n[evaluation]\nheatmaps = 0\n[checkpoint]\nevery = "1 step"\n'
    )
    monkeypatch.setenv("AAKIT_COUNTED", str(tmp_path / "counted"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def counted(place: Path) -> list[str]:
    """The process and the visible devices of each training that began."""
    return (place / "counted").read_text().splitlines()


def started(*arguments: object, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    """`aakit` in a process of its own."""
    command = [sys.executable, "-P", "-m", "aaclip_kit", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200", **variables}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
