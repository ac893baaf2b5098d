"""What a resumed run finds is compared with what it began with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import UserError
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.resume import take_up

from ..command import Command

PLUGINS = {"open_clip": "aaclip-kit 0.1.0", "losses": "aaclip-kit 0.1.0"}
DATA: dict[str, dict[str, Any]] = {"train": {"sha256": "aa", "count": 8}, "test": {"sha256": "bb"}}


@pytest.fixture
def begun(tmp_path: Path) -> RunFolder:
    """A run that died with a manifest and an event, before its first snapshot."""
    folder = RunFolder.create(tmp_path / "run")
    folder.write_manifest({"plugins": PLUGINS, "data": DATA})
    folder.event({"event": "evaluation"})
    return folder


def test_what_is_as_it_was_is_taken_up(begun: RunFolder) -> None:
    assert "begins again" in take_up(begun, None, PLUGINS, DATA)
    assert begun.events_size() == 0


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({**DATA, "test": {"sha256": "cc"}}, "data.test"),
        ({"train": DATA["train"]}, "data.test"),
        ({**DATA, "validation": {"sha256": "dd"}}, "data.validation"),
        ({"train": {"sha256": "ee"}, "test": {"sha256": "ff"}}, "data.test, data.train"),
    ],
    ids=["other", "gone", "new", "both"],
)
def test_changed_images_are_refused_and_nothing_is_cut(
    begun: RunFolder, data: dict[str, dict[str, Any]], named: str
) -> None:
    with pytest.raises(UserError) as caught:
        take_up(begun, None, PLUGINS, data)
    assert caught.value.problem == f"its images have changed since it began: {named}"
    assert caught.value.where == str(begun.path) and "restore the files" in str(caught.value.fix)
    assert begun.events_size() > 0


@pytest.mark.parametrize(
    ("plugins", "named"),
    [
        ({**PLUGINS, "losses": "aaclip-kit 0.2.0"}, "losses: aaclip-kit 0.1.0 then, aaclip-kit 0.2.0 now"),
        ({**PLUGINS, "more": "more 1.0"}, "more: None then, more 1.0 now"),
    ],
    ids=["other version", "new"],
)
def test_a_changed_plugin_is_refused(begun: RunFolder, plugins: dict[str, str], named: str) -> None:
    with pytest.raises(UserError, match="a plugin has changed since it began") as caught:
        take_up(begun, None, plugins, DATA)
    assert f"({named})" in caught.value.problem and "install the earlier version" in str(caught.value.fix)


def test_without_a_whole_manifest_there_is_nothing_to_compare(begun: RunFolder) -> None:
    (begun.path / "manifest.json").write_text('{"plugins": {')
    assert "begins again" in take_up(begun, None, {}, {})


def test_the_command_refuses_to_go_on_with_an_image_that_was_edited(
    aakit: Command, trained: Path, defects: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    metrics = run / "metrics.json"  # as if it had died before it had finished
    metrics.write_text(metrics.read_text().replace('"quoted"', '"unquoted"'))
    data = Path(shutil.copytree(defects, tmp_path / "data"))
    text = (run / "experiment.toml").read_text()
    assert str(defects) in text
    (run / "experiment.toml").write_text(text.replace(str(defects), str(data)))
    good = data / "green_wood" / "test" / "good"
    shutil.copy(good / "000.png", good / "001.png")
    ran = aakit("run", "--resume", run)
    assert ran.code == 2 and f"error: {run}: its images have changed since it began: data.test\n" in ran.err
    assert json.loads(metrics.read_text())["loops"] == json.loads((trained / "metrics.json").read_text())["loops"]
