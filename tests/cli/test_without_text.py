"""An experiment that needs text, on a backbone that has none: refused before anything is built, read or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import UserError
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble
from aaclip_kit.testing import tiny_experiment

from ..command import Command
from ..testing.broken import backbones

TIMM = {"use": "timm", "model": "vit_small_patch14_dinov2.lvd142m", "pretrained": "none", "image_size": 28}
FIX = "use a backbone with a text tower such as open_clip, or a head and stages that need no text"


@pytest.mark.parametrize("command", [["validate"], ["run", "--dry-run"], ["run"]], ids=" ".join)
def test_every_command_says_so_at_once(aakit: Command, tmp_path: Path, command: list[str]) -> None:
    file = tiny_experiment(tmp_path, backbone=TIMM)
    there = sorted(tmp_path.rglob("*"))
    ran = aakit(*command, str(file), *(["--out", str(tmp_path / "run")] if command == ["run"] else []))
    assert ran.code == 2 and ran.out == ""
    assert f"{file}: backbone: this backbone has no text tower" in ran.err and FIX in ran.err
    assert ran.err.count("no text tower") == 1
    assert sorted(tmp_path.rglob("*")) == there


def test_it_is_told_beside_the_other_faults(aakit: Command, tmp_path: Path) -> None:
    file = tiny_experiment(tmp_path, backbone=TIMM)
    ran = aakit("validate", str(file), "--set", "scheduler.text_rate=-1")
    assert ran.code == 2 and "no text tower" in ran.err and "scheduler.text_rate" in ran.err


def test_options_that_do_not_say_so_are_found_out_before_anything_is_written(tmp_path: Path) -> None:
    plugin: dict[str, Any] = {"use": "text_that_options_promise"}
    experiment = load(tiny_experiment(tmp_path, backbone=plugin, plugins=[backbones.__file__]), discover())
    with pytest.raises(UserError, match="this backbone has no text tower") as caught:
        assemble(experiment)
    assert (caught.value.where, caught.value.fix) == ("backbone", FIX)
