from __future__ import annotations

import json
import platform
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import torch

import aaclip_kit
from aaclip_kit.record.manifest import collect_manifest, git_state

STARTED = datetime(2025, 3, 9, 12, 0, 0, tzinfo=timezone(timedelta(hours=2)))


def manifest(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "device": "cpu",
        "plugins": {"losses": "0.1.0", "adapter": "0.1.0"},
        "seeds": {"run": 111},
        "data": {"test": {"count": 3, "classes": ["tile"], "sha256": "ab"}},
        "started": STARTED,
    }
    return collect_manifest(**(arguments | changes))


def test_the_manifest_is_plain_json() -> None:
    made = manifest(finished=STARTED + timedelta(seconds=61.5))
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_versions_and_what_was_passed_in() -> None:
    made = manifest()
    assert made["versions"]["python"] == platform.python_version()
    assert made["versions"]["torch"] == torch.__version__
    assert made["versions"]["aaclip_kit"] == aaclip_kit.__version__
    assert made["versions"]["open_clip_torch"][0].isdigit()
    assert list(made["plugins"].items()) == [("adapter", "0.1.0"), ("losses", "0.1.0")]
    assert made["seeds"] == {"run": 111}
    assert made["data"] == {"test": {"count": 3, "classes": ["tile"], "sha256": "ab"}}
    assert made["device"]["threads"] == torch.get_num_threads()
    assert made["device"]["name"] == "cpu"
    assert made["device"]["model"]


def test_times_are_utc() -> None:
    made = manifest(finished=STARTED + timedelta(seconds=61.5))
    assert made["started"] == "2025-03-09T10:00:00+00:00"
    assert made["finished"] == "2025-03-09T10:01:01+00:00"
    assert made["seconds"] == 61.5
    assert manifest(processor_seconds=70.25)["processor_seconds"] == 70.25


def test_a_run_that_goes_on_has_no_end() -> None:
    assert (manifest()["finished"], manifest()["seconds"]) == (None, None)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        manifest(started=datetime(2025, 3, 9))


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(
        ["git", "-C", folder, *settings, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_of_a_repository_is_read_from_its_files(tmp_path: Path) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    place.mkdir()
    git(place, "init", "-q")
    assert git_state(place) is None
    (place / "below").mkdir()
    (place / "below" / "file").write_text("one")
    git(place, "add", "below")
    git(place, "commit", "-qm", "first")
    first = {"commit": git(place, "rev-parse", "HEAD"), "modified": None}
    assert git_state(place) == git_state(place / "below") == manifest(folder=place)["git"] == first
    git(place, "worktree", "add", "-q", "-b", "topic/one", str(other))
    git(other, "commit", "-qm", "second", "--allow-empty")
    second = {"commit": git(other, "rev-parse", "HEAD"), "modified": None}
    assert git_state(other) == second and git_state(place) == first != second
    git(place, "pack-refs", "--all")
    assert git_state(place) == first and git_state(other) == second
    git(place, "checkout", "-q", "--detach")
    assert git_state(place) == first


def test_a_repository_runs_no_program_of_its_own(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    touched = tmp_path / "touched"
    git(tmp_path, "config", "core.fsmonitor", f"touch {touched}; false")
    git(tmp_path, "config", "filter.x.clean", f"touch {touched}; cat")
    (tmp_path / ".gitattributes").write_text("* filter=x\n")
    (tmp_path / "file").write_text("two")
    assert manifest(folder=tmp_path)["git"]["commit"] and not touched.exists()


@pytest.mark.parametrize(
    "head", ["", "ref: ", "ref: refs/heads/none", "ref: refs/../../x", "secret", "ref: refs/heads/a"]
)
def test_what_is_no_repository_has_no_commit(tmp_path: Path, head: str) -> None:
    assert git_state(tmp_path / "missing") is None
    (tmp_path / "x").write_text("0" * 40)
    own = tmp_path / ".git"
    own.write_text(head)
    assert git_state(tmp_path) is None
    own.unlink()
    (own / "refs" / "heads").mkdir(parents=True)
    (own / "HEAD").write_text(head)
    (own / "refs" / "heads" / "a").write_text("ref: refs/heads/a")
    assert git_state(tmp_path) is None
