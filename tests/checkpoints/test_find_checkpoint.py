"""The experiment that a checkpoint is used with, and the files around it that may be anybody's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.checkpoints.find_checkpoint import find_trained
from aaclip_kit.plugin_host.discovery import discover

from ..hostile.given import within


def test_a_checkpoint_in_its_run_uses_the_places_that_the_run_names(trained: Path) -> None:
    checkpoint = trained / "checkpoints" / "loop_2.safetensors"
    assert find_trained(checkpoint, discover()).checkpoint == checkpoint


@pytest.mark.parametrize("kind", ["endless", "a pipe", "of another run"])
def test_an_experiment_beside_a_checkpoint_that_is_not_its_own_makes_no_run_of_it(
    trained: Path, tmp_path: Path, kind: str
) -> None:
    checkpoint, beside = tmp_path / "checkpoints" / "loop_2.safetensors", tmp_path / "experiment.toml"
    checkpoint.parent.mkdir()
    shutil.copy(trained / "checkpoints" / "loop_2.safetensors", checkpoint)
    if kind == "a pipe":
        os.mkfifo(beside)
    else:
        beside.write_text('name = "other"\n')
    if kind == "endless":
        os.truncate(beside, 2**40)
    with within(20), pytest.raises(UserError, match="names files or folders of a machine: backbone"):
        find_trained(checkpoint, discover())
