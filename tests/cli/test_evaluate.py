"""`aakit evaluate`: the run's own figures again, other data, other choices, and everything that it refuses."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from aaclip_kit import load_model
from aaclip_kit.checkpoints.checkpoint import read, write
from aaclip_kit.checkpoints.provenance import read_metadata

from ..command import Command
from ..conftest import write_class
from .conftest import assert_plain, contents

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A class that the model has not seen."""
    write_class(tmp_path / "other", "blue_felt", channel=2, seed=7)
    return tmp_path / "other"


def evaluated(aakit: Command, *arguments: object) -> dict[str, Any]:
    ran = aakit("evaluate", *arguments, "--json")
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_it_gives_the_figures_of_the_run_exactly(aakit: Command, place: Path, trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    for path, loop in ((trained, 2), *((trained / f"checkpoints/loop_{n}.safetensors", n) for n in (1, 2))):
        found = evaluated(aakit, path)
        for key in ("classes", "mean", "undefined"):
            assert found[key] == metrics["loops"][loop - 1][key]
        assert found["checkpoint"] == str(trained / f"checkpoints/loop_{loop}.safetensors")
        assert found["notes"] == []
    assert contents(place) == {}


def _of_an_earlier_version(text: str) -> str:
    tables = tomllib.loads(text)
    del tables["prompts"]
    own = {"projections": tables["head"]["start"], "projection_activation": tables.pop("head")["activation"]}
    return tomli_w.dumps({**tables, "model": {**tables["model"], **own}})


def test_a_run_of_an_earlier_version_gives_its_figures(aakit: Command, place: Path, trained: Path) -> None:
    """Its experiment has the projections in [model], and its checkpoints have the prompts' among the heads."""
    old = shutil.copytree(trained, place / "old")
    file, checkpoint = old / "experiment.toml", old / "checkpoints" / "loop_2.safetensors"
    file.write_text(_of_an_earlier_version(file.read_text()))
    metadata = read_metadata(checkpoint)
    assert metadata.experiment is not None
    state = {
        name.replace("prompts.projection.", "heads.text.linear.").replace("head.", "heads."): value
        for name, value in load_file(checkpoint).items()
    }
    write(state, checkpoint, replace(metadata, experiment=_of_an_earlier_version(metadata.experiment)))
    last = json.loads((old / "metrics.json").read_text())["loops"][-1]
    assert "heads.detection.linear.weight" in load_file(checkpoint)
    assert evaluated(aakit, old)["classes"] == evaluated(aakit, checkpoint)["classes"] == last["classes"]
    ran = aakit("run", file, "--out", "again")
    assert ran.code == 2 and "give head.start and prompts.projection instead" in ran.err


def test_it_says_of_how_many_masks_its_pixel_metrics_are(aakit: Command, trained: Path, other: Path) -> None:
    """A pinhole of one pixel of 40 lies between those that are left of 32."""
    first = min((other / "blue_felt" / "ground_truth").rglob("*.png"))
    pinhole = np.zeros((40, 40), np.uint8)
    pinhole[2, 2] = 1
    Image.fromarray(pinhole).save(first)
    sets = ["--set", "data.test.use=folder", "--set", f"data.test.root={other}"]
    part = "3 of 4 masks; the others have no anomalous pixel at the map's size"
    assert evaluated(aakit, trained, *sets)["pixel_metrics_of"] == {"blue_felt": part}
    assert f"warning    blue_felt: pixel metrics are of {part}" in aakit("evaluate", trained, *sets).out


def test_at_full_size_pixels_are_measured_at_the_images_own_size(aakit: Command, trained: Path, other: Path) -> None:
    """Against maps and masks of 40 pixels and sklearn; the model's are of 32, where a pinhole is lost."""
    pinhole = np.zeros((40, 40), np.uint8)
    pinhole[2, 2] = 1
    Image.fromarray(pinhole).save(min((other / "blue_felt" / "ground_truth").rglob("*.png")))
    sets = ["--set", "data.test.use=folder", "--set", f"data.test.root={other}"]
    whole = evaluated(aakit, trained, *sets, "--full-size")
    assert (whole["full_size"], whole["tiles"], "pixel_metrics_of" in whole) == (True, None, False)
    model, masks, files = load_model(trained), [], sorted((other / "blue_felt" / "test").rglob("*.png"))
    for file in files:
        mask = other / "blue_felt" / "ground_truth" / file.parent.name / f"{file.stem}_mask.png"
        masks.append(np.asarray(Image.open(mask)) > 0 if mask.exists() else np.zeros((40, 40), bool))
    for tiles in (None, 2):
        found = evaluated(aakit, trained, *sets, "--full-size", "--tiles", tiles or "off")["classes"]["blue_felt"]
        predicted = list(model.predict_all(files, "blue felt", tiles=tiles))
        values = np.stack([one.anomaly_map for one in predicted])
        assert found["pixel_auroc"] == pytest.approx(roc_auc_score(np.ravel(masks), values.ravel()), abs=1e-4)
        labels = [bool(mask.any()) for mask in masks]
        assert found["image_auroc"] == pytest.approx(roc_auc_score(labels, [one.pred_score for one in predicted]))
    ran = aakit("evaluate", trained, *sets, "--tiles", 2)
    assert ran.code == 0 and "pixel metrics are at each image's own size, in tiles (2)" in ran.out


def test_scores_by_the_whole_test_set_have_no_full_size(aakit: Command, place: Path, trained: Path) -> None:
    ran = aakit("evaluate", trained, "--full-size", "--set", "switches.score_normalisation=test_set", "--out", "x.json")
    assert_plain(ran)
    assert "leave out --full-size and --tiles" in ran.err and not (place / "x.json").exists()


def test_pixels_that_the_data_table_leaves_out_count_in_no_metric(aakit: Command, trained: Path, other: Path) -> None:
    sets = ["--set", "data.test.use=folder", "--set", f"data.test.root={other}"]
    plain = evaluated(aakit, trained, *sets)["classes"]["blue_felt"]
    for file in (other / "blue_felt" / "ground_truth").rglob("*.png"):
        mask = np.asarray(Image.open(file).convert("L")) // 255
        Image.fromarray(np.where((np.arange(40) < 8)[:, None], np.uint8(255), mask)).save(file)
    marked = evaluated(aakit, trained, *sets)["classes"]["blue_felt"]
    ignored = evaluated(aakit, trained, *sets, "--set", "data.test.ignore=255")["classes"]["blue_felt"]
    assert len({values["pixel_auroc"] for values in (plain, marked, ignored)}) == 3
    assert {values["image_auroc"] for values in (plain, marked, ignored)} == {plain["image_auroc"]}


def test_what_it_writes_is_compared_with_the_run_on_the_same_images(aakit: Command, place: Path, trained: Path) -> None:
    assert aakit("evaluate", trained / "checkpoints/loop_1.safetensors", "--out", "scored").code == 0
    assert json.loads((place / "scored/evaluation.json").read_text())["seed"] == 3
    ran = aakit("compare", f"{trained}:loop1", "scored", f"{trained}:loop2", "--json", "--metric", "pixel_auroc")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert found["differences"]["scored"]["pixel_auroc"]["of_seed"] == {"3": 0.0}
    assert list(found["differences"]) == ["scored", f"{trained.name}:loop2"]


@pytest.mark.slow
def test_a_run_whose_attention_begins_in_the_second_loop(aakit: Command, place: Path, small_experiment: Path) -> None:
    """Which stages act is not the same after each loop, so the checkpoint must know."""
    text = small_experiment.read_text()
    head, _, tail = text.partition("[scheduler]")
    v2 = '[scheduler]\nuse = "v2"\nloops = 2\nattention_from_loop = 2\ntext_epochs = 1\nimage_epochs = 1\n'
    small_experiment.write_text(head + v2 + "text_batch = 4\nimage_batch = 4\n" + tail[tail.index("[data.train]") :])
    strong = ["--set", "stages.image_to_text.scale=5.0", "--set", "evaluation.text_conditioning=image"]
    assert aakit("run", small_experiment, "--out", "out", "--device", "cpu", *strong).code == 0
    metrics = json.loads((place / "out" / "metrics.json").read_text())
    for loop in (1, 2):
        found = evaluated(aakit, place / f"out/checkpoints/loop_{loop}.safetensors")
        assert found["classes"] == metrics["loops"][loop - 1]["classes"]
    pickles = ["--set", "switches.checkpoint_format=pickle", "--set", "switches.reported_loop=best_on_test"]
    assert aakit("run", small_experiment, "--out", "pickled", "--device", "cpu", *strong, *pickles).code == 0
    for file in (place / "pickled" / "checkpoints").glob("*.json"):
        file.unlink()
    for loop in (1, 2):
        checkpoint = place / f"pickled/checkpoints/loop_{loop}.pth"
        found = evaluated(aakit, checkpoint, "--experiment", place / "pickled" / "experiment.toml")
        assert found["classes"] == metrics["loops"][loop - 1]["classes"], "without metadata it goes by the plan"


def test_a_pickled_run_needs_no_more_than_its_folder(aakit: Command, place: Path, small_experiment: Path) -> None:
    assert aakit("run", small_experiment, "--out", "out", "--set", "switches.checkpoint_format=pickle").code == 0
    metrics = json.loads((place / "out" / "metrics.json").read_text())
    assert evaluated(aakit, place / "out")["classes"] == metrics["loops"][1]["classes"]
    alone = shutil.copy(place / "out" / "checkpoints" / "loop_2.pth", place / "loop_2.pth")
    ran = aakit("evaluate", alone)
    assert_plain(ran)
    assert "loop_2.pth: does not say which experiment it belongs to" in ran.err
    assert "--experiment" in ran.err
    found = evaluated(aakit, alone, "--experiment", place / "out" / "experiment.toml")
    assert found["classes"] == metrics["loops"][1]["classes"]
    unknown = "data.test: the model does not say all the images that it was trained on; these may be among them"
    assert found["notes"] == [unknown]
    ran = aakit("evaluate", alone, "--experiment", place / "out" / "experiment.toml")
    assert f"warning    {unknown}" in ran.out


def test_a_checkpoint_alone_is_enough_with_the_places_that_its_user_names(
    aakit: Command, place: Path, trained: Path, tiny_clip: Path, defects: Path
) -> None:
    """It could be a stranger's, whose paths are not to be followed; its run's folder says them in the open."""
    alone = shutil.copy(trained / "checkpoints" / "loop_2.safetensors", place / "model.safetensors")
    whole = evaluated(aakit, trained)["classes"]
    ran = aakit("evaluate", alone)
    assert_plain(ran)
    assert f"names files or folders of a machine: backbone.model = {tiny_clip}, data.test.root = {defects}" in ran.err
    assert "--set backbone.model=... --set data.test.root=...; or the whole experiment: --experiment FILE" in ran.err
    named = ["--set", f"backbone.model={tiny_clip}", "--set", f"data.test.root={defects}"]
    assert_plain(aakit("evaluate", alone, *named[:2]))
    assert evaluated(aakit, alone, *named)["classes"] == whole
    assert evaluated(aakit, alone, "--experiment", trained / "experiment.toml")["classes"] == whole
    assert evaluated(aakit, place, *named)["classes"] == whole, "a folder that holds one checkpoint"


def test_a_checkpoint_draws_into_no_folder_of_its_own_choosing(
    aakit: Command, place: Path, trained: Path, tiny_clip: Path
) -> None:
    source, theirs = trained / "checkpoints" / "loop_2.safetensors", place.parent / "theirs"
    metadata = read_metadata(source)
    tables = tomllib.loads(metadata.experiment or "")
    tables["data"]["test"] = {"use": "synthetic", "split": "test", "images_per_class": 2, "cache": str(theirs)}
    write(read(source), place / "a.safetensors", replace(metadata, experiment=tomli_w.dumps(tables)))
    ran = aakit("evaluate", place / "a.safetensors", "--set", f"backbone.model={tiny_clip}")
    assert_plain(ran)
    assert f"data.test.cache = {theirs}" in ran.err and not theirs.exists()


def test_another_data_set_leaves_no_option_of_the_old_one(
    aakit: Command, place: Path, trained: Path, other: Path
) -> None:
    """The old table is a folder too, with its own root and `classes`, which would be unknown in the new one."""
    new = ["data.test.use=folder", f"data.test.root={other}"]
    for overrides in (new, new[::-1]):
        found = evaluated(aakit, trained, *(word for one in overrides for word in ("--set", one)))
        assert list(found["classes"]) == ["blue_felt"]
    ran = aakit("evaluate", trained, "--set", f"data.test.root={other}")
    assert_plain(ran)
    assert "green_wood" in ran.err, "without `use` the table is kept, and its classes are not there"
    drawn = ["data.test.use=synthetic", "data.test.split=test", "data.test.images_per_class=2"]
    found = evaluated(aakit, trained, *(word for one in drawn for word in ("--set", one)))
    assert "wood" in found["classes"]


def test_choices_of_scoring_can_be_changed(aakit: Command, place: Path, trained: Path) -> None:
    strong = ["--set", "stages.image_to_text.scale=5.0", "--set", "stages.text_to_image.scale=5.0"]
    for key in ("use=synthetic", "split=test", "images_per_class=8", 'classes=["wood", "woven"]'):
        strong += ["--set", f"data.test.{key}"]
    base = evaluated(aakit, trained, *strong)["classes"]
    for override in (
        "switches.evaluation_attention=false",
        "switches.score_normalisation=test_set",
        "evaluation.text_conditioning=image",
        "evaluation.image_score=map",
        "evaluation.blur=false",
    ):
        assert evaluated(aakit, trained, *strong, "--set", override)["classes"] != base, override


def test_the_table_and_the_file(aakit: Command, place: Path, trained: Path, other: Path) -> None:
    new = ["--set", "data.test.use=folder", "--set", f"data.test.root={other}"]
    shutil.rmtree(other / "blue_felt" / "ground_truth")
    ran = aakit("evaluate", trained, *new, "--out", place / "deep" / "found.json")
    assert (ran.code, ran.err) == (0, "")
    (row,) = [line.split() for line in ran.out.splitlines() if line.startswith("blue_felt")]
    heads = "pixel AUROC pixel AUPRO pixel AP pixel F1-MAX image AUROC image AP image F1-MAX"
    assert " ".join(ran.out.split()).lower().count(heads.lower()) == 1
    record = json.loads((place / "deep" / "found.json").read_text())
    values = record["classes"]["blue_felt"].values()
    assert row[1:] == ["–" if value is None else f"{value:.3f}" for value in values]
    assert row[1:5] == ["–"] * 4
    assert "blue_felt: pixel AUROC, pixel AUPRO, pixel AP, pixel F1-max: no masks" in ran.out
    assert record["data"]["counts"] == {"blue_felt": {"anomalous": 4, "normal": 4}}
    assert aakit("evaluate", trained, *new, "--out", place / "folder").code == 0
    assert json.loads((place / "folder" / "evaluation.json").read_text()) == record
    before = contents(place)
    ran = aakit("evaluate", trained, *new, "--out", place / "folder")
    assert_plain(ran)
    assert "evaluation.json: exists already" in ran.err
    assert contents(place) == before


def test_images_that_the_model_was_trained_on_are_refused(
    aakit: Command, place: Path, trained: Path, defects: Path, tmp_path: Path, tiny_clip: Path
) -> None:
    """By content, whatever they are called, from the checkpoint alone; the held-out ones count as seen."""
    copy = tmp_path / "renamed"
    shutil.copytree(defects / "red_cloth", copy / "white_silk")
    checkpoint = shutil.copy(trained / "checkpoints" / "loop_1.safetensors", place / "loop_1.safetensors")
    new = ["--set", "data.test.use=folder", "--set", f"data.test.root={copy}", "--set", f"backbone.model={tiny_clip}"]
    ran = aakit("evaluate", checkpoint, *new, "--out", place / "found.json")
    assert_plain(ran)
    assert "data.test: the model was trained on 8 of these images, by content; the first is" in ran.err
    assert set(contents(place)) == {"loop_1.safetensors"}
    found = evaluated(aakit, checkpoint, *new, "--set", "data.allow_overlap=true")
    assert any("the model was trained on 8 of these images" in note for note in found["notes"])
    assert (found["data"]["overlap_allowed"], found["data"]["shared_images"]) == (True, 8)


def test_a_run_that_was_scored_again_stands_for_its_sources_checkpoint(
    aakit: Command, place: Path, trained: Path
) -> None:
    again = Path(shutil.copytree(trained, place / "again"))
    shutil.rmtree(again / "checkpoints")
    manifest = json.loads((again / "manifest.json").read_text())
    (again / "manifest.json").write_text(json.dumps({**manifest, "rescored_from": str(trained)}))
    assert evaluated(aakit, again)["checkpoint"] == str(trained / "checkpoints" / "loop_2.safetensors")
    (again / "manifest.json").write_text(json.dumps({**manifest, "rescored_from": "gone"}))
    ran = aakit("evaluate", again)
    assert_plain(ran)
    assert "gone/checkpoints: the checkpoint of loop 2, which the run quotes, is not there" in ran.err


def test_a_folder_with_one_pickle(aakit: Command, place: Path, trained: Path) -> None:
    torch.save(load_file(trained / "checkpoints" / "loop_2.safetensors"), place / "loop_2.pth")
    found = evaluated(aakit, place, "--experiment", trained / "experiment.toml")
    assert found["checkpoint"] == str(place / "loop_2.pth")


@pytest.mark.parametrize(
    "override",
    ["scheduler.text_epochs=[1]", "data.train.root=x", "switches.dropout=false", "evaluation.heatmaps=2", "seed=4"],
)
def test_an_override_without_effect_is_refused(aakit: Command, place: Path, trained: Path, override: str) -> None:
    ran = aakit("evaluate", trained, "--set", override)
    assert_plain(ran)
    assert f"{override.partition('=')[0]} has no effect on a model that is trained already" in ran.err


def _empty(run: Path) -> Path:
    shutil.rmtree(run)
    run.mkdir()
    return run


def _no_checkpoints(run: Path) -> Path:
    shutil.rmtree(run / "checkpoints")
    return run


def _unfinished(run: Path) -> Path:
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["quoted"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    return run


def _no_metrics(run: Path) -> Path:
    (run / "metrics.json").write_text("{")
    return run


def _parent(run: Path) -> Path:
    for seed in ("seed_1", "seed_2"):
        shutil.copytree(run, run.parent / "seeds" / seed)
    return run.parent / "seeds"


def _two(run: Path) -> Path:
    return run / "checkpoints"


def _truncated(run: Path) -> Path:
    path = run / "checkpoints" / "loop_2.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return run


def _no_head(run: Path) -> Path:
    path = run / "checkpoints" / "loop_2.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    return path


def _incomplete(run: Path) -> Path:
    path = run / "checkpoints" / "loop_2.safetensors"
    state = load_file(path)
    save_file({name: value for name, value in state.items() if ".image_to_text." not in name}, path)
    return run


def _bare(run: Path) -> Path:
    path = run / "checkpoints" / "loop_2.safetensors"
    save_file(load_file(path), path)
    return path


BAD = {
    "nothing": (lambda run: run / "nowhere", "nowhere: there is no such checkpoint"),
    "an empty folder": (_empty, "holds no finished run and no checkpoint"),
    "no checkpoints": (_no_checkpoints, "the checkpoint of loop 2, which the run quotes, is not there"),
    "not finished": (_unfinished, "the run quotes no loop"),
    "damaged metrics": (_no_metrics, "metrics.json: is no metrics of a run"),
    "several runs": (_parent, "holds 2 runs and is none itself"),
    "several checkpoints": (_two, "holds 2 checkpoints"),
    "truncated": (_truncated, "loop_2.safetensors: cannot be read"),
    "a truncated head": (_no_head, "loop_2.safetensors: cannot be read"),
    "a stage that acted is missing": (_incomplete, "lacks the weights of image_to_text, which the experiment has"),
    "no experiment": (_bare, "does not say which experiment it belongs to"),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_what_is_no_model_is_one_message(
    aakit: Command, place: Path, trained: Path, tmp_path: Path, damage: Any, message: str
) -> None:
    ran = aakit("evaluate", damage(Path(shutil.copytree(trained, tmp_path / "run"))), "--out", place / "found.json")
    assert_plain(ran)
    assert message in ran.err
    assert contents(place) == {}


def test_a_checkpoint_of_another_experiment(aakit: Command, place: Path, trained: Path, small_experiment: Path) -> None:
    text = small_experiment.read_text().replace("after = [0, 1, 2]", "after = [0, 1]")
    small_experiment.write_text(text)
    ran = aakit("evaluate", trained, "--experiment", small_experiment)
    assert_plain(ran)
    assert "does not fit: sites.stages.text_adapter.2.linear.weight has no place in this experiment" in ran.err
