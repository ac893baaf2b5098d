"""A model goes to a hub and comes back as it was; what is damaged, changed or newer is refused with one message."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import safetensors.torch
from huggingface_hub import constants
from PIL import Image

from aaclip_kit import UserError, load_model
from aaclip_kit.checkpoints.provenance import read_metadata
from aaclip_kit.hub.address import hub_address
from aaclip_kit.hub.client import fetched
from aaclip_kit.hub.file_list import LIST, MODEL

from ..cli.conftest import assert_plain, contents
from ..command import Command, Ran
from ..comparison.made import write_run
from .server import READS_ONLY, Hub

REPO = "ann/tiles"


def address_of(ran: Ran) -> str:
    """What a push has printed."""
    assert ran.code == 0, ran.err
    assert ran.err == ""
    found = re.search(r"^pushed +(hf://\S+)$", ran.out, re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture
def address(hub: Hub, aakit: Command, taught: Path) -> str:
    """Where a taught model was pushed to."""
    return address_of(aakit("push", taught / "line.model", "--repo", REPO, "--licence", "apache-2.0"))


def test_a_model_comes_back_from_the_hub_as_it_was(address: str, taught: Path, place: Path, aakit: Command) -> None:
    image = taught / "bad" / "000.png"
    before, after = load_model(taught / "line.model").predict(image), load_model(address).predict(image)
    assert (before.pred_score, before.threshold) == (after.pred_score, after.threshold)
    assert (before.anomaly_map == after.anomaly_map).all()
    ran = aakit("predict", address, image, "--out", place / "found")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads((place / "found" / "scores.jsonl").read_text())["score"] == pytest.approx(
        before.pred_score, abs=1e-3
    )


# The client's own use of its transport.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
@pytest.mark.parametrize("large", [False, True])
def test_every_tensor_keeps_its_bits(
    hub: Hub, aakit: Command, trained: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the commit, and through LFS as large files go; by its own protocol xet the client asks other servers."""
    monkeypatch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    hub.large = large
    address = address_of(aakit("push", trained, "--repo", REPO))
    assert any(line.startswith("PUT /lfs/") for line in hub.asked) is large
    own = trained / "checkpoints" / "loop_2.safetensors"
    there = fetched(hub_address(Path(address)))  # type: ignore[arg-type]
    before, after = (safetensors.torch.load_file(path) for path in (own, there))
    assert before.keys() == after.keys() and all(before[name].equal(after[name]) for name in before)
    assert read_metadata(own).calibration == read_metadata(there).calibration


def test_nothing_that_is_pushed_names_a_place_of_the_machine(
    hub: Hub, aakit: Command, trained: Path, tmp_path: Path
) -> None:
    ran = aakit("push", trained, "--repo", REPO, "--dry-run", tmp_path / "dry")
    assert (ran.code, ran.err) == (0, "") and "backbone.model" in ran.out
    assert hub.asked == []
    for path in (tmp_path / "dry").iterdir():
        assert str(tmp_path.anchor + tmp_path.parts[1]).encode() not in path.read_bytes(), path.name
    tables = tomllib.loads((tmp_path / "dry" / "experiment.toml").read_text())
    assert tables["data"]["test"]["root"] == "../defects"


def test_the_card_of_a_seed_has_an_interval_over_those_beside_it(aakit: Command, trained: Path, tmp_path: Path) -> None:
    own = tmp_path / "seeds" / "seed_3"
    shutil.copytree(trained, own)
    other = write_run(tmp_path / "seeds" / "seed_4", 4, [{"a": {"pixel_auroc": 0.5, "image_auroc": 0.5}}] * 2)
    assert aakit("push", own, "--repo", REPO, "--dry-run", tmp_path / "dry").code == 0
    assert "| mean of 2 seeds |" in (tmp_path / "dry" / "README.md").read_text()
    shutil.rmtree(other)
    assert aakit("push", own, "--repo", REPO, "--dry-run", tmp_path / "alone").code == 0
    assert "without an interval" in (tmp_path / "alone" / "README.md").read_text()


def test_a_dry_run_writes_what_is_pushed(hub: Hub, aakit: Command, taught: Path, place: Path, address: str) -> None:
    ran = aakit("push", taught / "line.model", "--repo", REPO, "--licence", "apache-2.0", "--dry-run", place / "dry")
    assert (ran.code, ran.err) == (0, "")
    repository = hub.repositories[REPO]
    written = {path.name: path.read_bytes() for path in (place / "dry").iterdir()}
    assert {".gitattributes": b"", **written} == repository.commits[repository.branches["main"]]
    again = aakit("push", taught / "line.model", "--repo", REPO, "--dry-run", place / "dry")
    assert_plain(again)


def test_a_commit_that_is_here_needs_no_network(address: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    load_model(address)
    asked = len(hub.asked)
    load_model(address)
    assert len(hub.asked) == asked
    load_model(f"hf://{REPO}")
    assert len(hub.asked) > asked, "a branch may have moved"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    load_model(address)
    with pytest.raises(UserError, match="the hub is not reached"):
        load_model(f"hf://{REPO}")


@pytest.mark.parametrize("name", [MODEL, "bank.safetensors", LIST])
def test_a_file_that_the_hub_has_changed_is_refused(
    address: str, hub: Hub, aakit: Command, place: Path, name: str
) -> None:
    repository = hub.repositories[REPO]
    files = repository.commits[repository.branches["main"]]
    content = files[name]
    repository.commit("main", {**files, name: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]})
    digest = address.partition("#")[2]
    ran = aakit("evaluate", f"hf://{REPO}#{digest}", "--out", place / "found")
    assert_plain(ran)
    assert contents(place) == {}
    pinned = "is not the model that the address pins" if name == LIST else f"{name} is damaged or was changed"
    assert pinned in ran.err


def test_a_file_that_is_damaged_in_the_cache_is_refused(address: str, aakit: Command) -> None:
    checkpoint = fetched(hub_address(Path(address)))  # type: ignore[arg-type]
    blob, whole = checkpoint.resolve(), checkpoint.read_bytes()
    blob.write_bytes(whole[:-1])
    ran = aakit("evaluate", address)
    assert_plain(ran)
    assert "is damaged or was changed" in ran.err and str(blob) in ran.err
    blob.unlink()
    assert fetched(hub_address(Path(address))).read_bytes() == whole  # type: ignore[arg-type]


def test_a_model_of_a_newer_version_is_refused(address: str, hub: Hub, aakit: Command) -> None:
    repository = hub.repositories[REPO]
    files = repository.commits[repository.branches["main"]]
    newer = files[LIST].replace(b"aaclip_kit model 1", b"aaclip_kit model 2")
    repository.commit("main", {**files, LIST: newer})
    ran = aakit("evaluate", f"hf://{REPO}")
    assert_plain(ran)
    assert "upgrade aaclip-kit" in ran.err


def test_a_list_that_names_other_files_is_refused(address: str, hub: Hub) -> None:
    repository = hub.repositories[REPO]
    files = repository.commits[repository.branches["main"]]
    for name in ("model.pth", "../model.safetensors", "run.py"):
        record = json.loads(files[LIST])
        record["files"][name] = record["files"][MODEL]
        repository.commit("main", {**files, LIST: json.dumps(record).encode(), name: files[MODEL]})
        with pytest.raises(UserError, match=r"its aakit\.json is none of aaclip_kit"):
            load_model(f"hf://{REPO}")
        assert f"GET /{REPO}/resolve" not in " ".join(line for line in hub.asked if line.endswith(name))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("hf://ann/nothing", "there is no such repository"),
        (f"hf://{REPO}@nowhere", "has no such revision"),
        ("hf://ann/empty", "holds no model of aaclip_kit"),
        ("hf://ann", "is no address of a model on the hub"),
        ("hf://ann/tiles@main#xyz", "is no address of a model on the hub"),
    ],
)
def test_what_is_not_on_the_hub_is_one_plain_message(
    address: str, hub: Hub, aakit: Command, place: Path, model: str, said: str
) -> None:
    hub.make("ann/empty")
    ran = aakit("evaluate", model, "--out", place / "found")
    assert_plain(ran)
    assert said in ran.err
    assert contents(place) == {}


def test_a_private_model_needs_a_token(hub: Hub, aakit: Command, taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address_of(aakit("push", taught / "line.model", "--repo", REPO, "--private"))
    assert hub.repositories[REPO].private
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="or you may not see it"):
        load_model(f"hf://{REPO}")


def test_a_public_repository_is_not_taken_for_a_private_one(hub: Hub, aakit: Command, taught: Path) -> None:
    hub.make(REPO)
    ran = aakit("push", taught / "line.model", "--repo", REPO, "--private")
    assert_plain(ran)
    assert len(hub.repositories[REPO].commits) == 1


def test_without_a_token_the_hub_is_not_asked(
    hub: Hub, aakit: Command, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    ran = aakit("push", taught / "line.model", "--repo", REPO)
    assert_plain(ran)
    assert "there is no token" in ran.err and hub.asked == []


def test_a_token_that_may_not_write_leaves_nothing(
    hub: Hub, aakit: Command, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.make(REPO)
    monkeypatch.setenv("HF_TOKEN", READS_ONLY)
    ran = aakit("push", taught / "line.model", "--repo", REPO)
    assert_plain(ran)
    assert "403" in ran.err and len(hub.repositories[REPO].commits) == 1


def test_a_hub_that_is_not_there_is_one_plain_message(
    hub: Hub, aakit: Command, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    ran = aakit("push", taught / "line.model", "--repo", REPO)
    assert_plain(ran)
    assert "the hub is not reached" in ran.err
    assert "push again" in ran.err and "fetched before" not in ran.err


def test_a_second_model_leaves_no_file_of_the_first(
    address: str, hub: Hub, aakit: Command, trained: Path, tmp_path: Path
) -> None:
    address_of(aakit("push", trained, "--repo", REPO))
    repository = hub.repositories[REPO]
    files = repository.commits[repository.branches["main"]]
    assert "bank.safetensors" not in files and "manifest.json" in files
    other = address_of(aakit("push", trained, "--repo", REPO, "--revision", "trial"))
    assert repository.branches["trial"] in other != repository.branches["main"]


def test_a_pickle_is_pushed_as_tensors_alone(
    hub: Hub, aakit: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aaclip_kit.checkpoints.checkpoint import read, write

    own = trained / "checkpoints" / "loop_2.safetensors"
    write(read(own), tmp_path / "loop_2.pth", read_metadata(own))
    monkeypatch.setenv("AAKIT_TRUST_PICKLES", "1")  # an old torch reads none without it
    given = ("--experiment", trained / "experiment.toml", "--dry-run", tmp_path / "dry")
    ran = aakit("push", tmp_path / "loop_2.pth", "--repo", REPO, *given)
    assert ran.code == 0, ran.err
    assert not [path for path in (tmp_path / "dry").iterdir() if path.suffix in (".pth", ".pt", ".bin")]
    assert safetensors.torch.load_file(tmp_path / "dry" / MODEL).keys() == read(own).keys()


def test_a_strangers_model_that_names_files_asks_for_them(hub: Hub, aakit: Command, trained: Path, place: Path) -> None:
    address = address_of(aakit("push", trained, "--repo", REPO))
    Image.new("RGB", (40, 40)).save(place / "a.png")
    ran = aakit("predict", address, place, "--out", place / "found")
    assert_plain(ran)
    assert "--set backbone.model=" in ran.err and not (place / "found").exists()
    tables = tomllib.loads((trained / "experiment.toml").read_text())
    named = ("--set", f"backbone.model={tables['backbone']['model']}")
    assert aakit("predict", address, place, "--out", place / "found", *named).code == 0


def test_thresholds_of_a_model_on_the_hub_stay(address: str, aakit: Command, taught: Path, tmp_path: Path) -> None:
    checkpoint = fetched(hub_address(Path(address)))  # type: ignore[arg-type]
    before = checkpoint.read_bytes()
    ran = aakit("calibrate", address, taught / "more")
    assert_plain(ran)
    assert "cp -rL" in ran.err and checkpoint.read_bytes() == before
    copy = tmp_path / "my.model"
    shutil.copytree(checkpoint.parent, copy)
    assert aakit("calibrate", copy, taught / "more").code == 0


@pytest.mark.slow
def test_the_command_asks_the_hub_that_the_environment_names(
    address: str, hub: Hub, taught: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    places: list[str | Path] = [taught / "bad", "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "aaclip_kit", "predict", f"hf://{REPO}", *places]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "out" / "scores.jsonl").is_file()
