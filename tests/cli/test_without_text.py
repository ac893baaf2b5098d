"""A backbone without text: what needs text is refused before anything is built, read or written; the rest runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import UserError
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble
from aaclip_kit.testing import tiny_experiment

from ..command import Command
from ..plugins import tiny_vits
from ..testing.broken import backbones
from ..tiers import daily

TIMM = {"use": "timm", "model": "vit_small_patch14_dinov2.lvd142m", "pretrained": "none", "image_size": 28}
INSTEAD = "use a backbone with a text tower such as open_clip, or"
VISION = {"use": "single", "train": "vision", "epochs": 1, "batch": 2, "rate": 1e-3}
ADAPTER = {"use": "residual_adapter", "tower": "vision", "after": [0, 1]}
LOSSES = {"vision": {"segmentation": {"use": "segmentation"}, "image": {"use": "image_cross_entropy"}}}


def free_of_text(folder: Path, **tables: Any) -> Path:
    """An experiment with the head `text_free` and nothing of text."""
    free = {"backbone": TIMM, "head": {"use": "text_free"}, "losses": LOSSES, "scheduler": VISION}
    return tiny_experiment(folder, **{**free, **tables})


@pytest.mark.parametrize("command", [["validate"], ["run", "--dry-run"], ["run"]], ids=" ".join)
def test_every_command_says_at_once_that_the_head_needs_text(
    aakit: Command, tmp_path: Path, command: list[str]
) -> None:
    file = tiny_experiment(tmp_path, backbone=TIMM)
    there = sorted(tmp_path.rglob("*"))
    ran = aakit(*command, str(file), *(["--out", str(tmp_path / "run")] if command == ["run"] else []))
    assert ran.code == 2 and ran.out == ""
    assert f"{file}: head: the head needs text, and the backbone has no text tower" in ran.err
    assert f"{INSTEAD} a head that needs no text such as text_free" in ran.err
    assert ran.err.count("no text tower") == 1
    assert sorted(tmp_path.rglob("*")) == there


def test_it_is_told_beside_the_other_faults(aakit: Command, tmp_path: Path) -> None:
    file = tiny_experiment(tmp_path, backbone=TIMM)
    ran = aakit("validate", str(file), "--set", "scheduler.text_rate=-1")
    assert ran.code == 2 and "no text tower" in ran.err and "scheduler.text_rate" in ran.err


@pytest.mark.parametrize(
    ("where", "table", "who", "instead"),
    [
        ("prompts", {"use": "learnt"}, "what makes prompts", "leave the table out"),
        ("stages.more", {**ADAPTER, "tower": "text"}, "the stage", "leave the stage out"),
        ("stages.more", {"use": "image_to_text"}, "the stage", "leave the stage out"),
    ],
)
def test_so_are_prompts_and_stages_that_need_text(
    aakit: Command, tmp_path: Path, where: str, table: dict[str, Any], who: str, instead: str
) -> None:
    key, _, name = where.partition(".")
    file = free_of_text(tmp_path, **{key: {name: table} if name else table})
    ran = aakit("validate", str(file))
    assert ran.code == 2 and f"{file}: {where}: {who} needs text, and the backbone has no text tower" in ran.err
    assert f"{INSTEAD} {instead}" in ran.err


def test_a_scheduler_that_plans_a_text_phase_is_refused_before_anything_is_written(
    aakit: Command, tmp_path: Path
) -> None:
    file = free_of_text(tmp_path, scheduler={**VISION, "train": "text"})
    ran = aakit("run", str(file), "--out", str(tmp_path / "run"))
    assert ran.code == 2 and "scheduler: a phase that it plans needs text" in ran.err
    assert 'train = "vision"' in ran.err and not (tmp_path / "run").exists()


def test_what_options_do_not_say_is_found_out_before_anything_is_written(tmp_path: Path) -> None:
    plugin: dict[str, Any] = {"use": "text_that_options_promise"}
    experiment = load(tiny_experiment(tmp_path, backbone=plugin, plugins=[backbones.__file__]), discover())
    with pytest.raises(UserError, match="the head needs text, and the backbone has no text tower") as caught:
        assemble(experiment)
    assert caught.value.where == "head"


@pytest.mark.parametrize("stage", [{**ADAPTER, "tower": "text"}, {"use": "image_to_text", "after": [0], "heads": 4}])
def test_so_is_a_stage(tmp_path: Path, stage: dict[str, Any]) -> None:
    plugin: dict[str, Any] = {"use": "text_that_options_promise"}
    file = free_of_text(tmp_path, backbone=plugin, plugins=[backbones.__file__], stages={"more": stage})
    with pytest.raises(UserError, match="the stage needs text, and the backbone has no text tower") as caught:
        assemble(load(file, discover()))
    assert caught.value.where == "stages.more"


@pytest.mark.parametrize("model", daily(tiny_vits.SIDES, "tiny_dinov3"))
def test_a_head_that_needs_no_text_trains_and_is_tested(aakit: Command, tmp_path: Path, model: str) -> None:
    backbone = {"use": "timm", "model": model, "pretrained": "none"}
    stages = {"adapter": ADAPTER, "prompts": {"use": "ada_clip", "after": [0, 1]}}
    file = free_of_text(tmp_path, backbone=backbone, stages=stages)
    ran = aakit("run", str(file), "--out", str(tmp_path / "run"))
    assert (ran.code, ran.err) == (0, "")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["before"]["classes"] != metrics["loops"][0]["classes"]
    ran = aakit("evaluate", str(tmp_path / "run"), "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["classes"] == metrics["loops"][0]["classes"]
