"""What weights were trained on is known of them, also where a run began with weights of another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from aaclip_kit import UserError
from aaclip_kit.checkpoints.checkpoint import read, write
from aaclip_kit.checkpoints.provenance import Metadata, Provenance, read_metadata
from aaclip_kit.cli.screen import QuietScreen
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.loop import execute

from ..conftest import write_class

pytestmark = pytest.mark.usefixtures("undrawn")

BESIDE = "scheduler.text_epochs=[1]", "scheduler.image_epochs=[1]", "scheduler.rate_factors=[1.0]"


@pytest.fixture
def more(tmp_path: Path, defects: Path) -> Path:
    """A third class, and the first under another name."""
    write_class(tmp_path / "more", "blue_felt", channel=2, seed=7)
    shutil.copytree(defects / "red_cloth", tmp_path / "more" / "white_silk")
    return tmp_path / "more"


def started(file: Path, checkpoint: Path, more: Path, *overrides: str) -> Run:
    """A run on blue_felt that starts from a checkpoint."""
    train = [f"data.train.root={more}", "data.train.classes=[blue_felt]", f"init.checkpoint={checkpoint}"]
    return assemble(load(file, discover(), [*train, "device=cpu", *BESIDE, *overrides]))


@pytest.mark.parametrize("role", ["test", "validation", "calibration"])
def test_images_that_the_first_weights_were_trained_on_are_refused(
    small_experiment: Path, trained: Path, more: Path, role: str
) -> None:
    """The checkpoint that a run starts from was trained on red_cloth."""
    judged = [f"data.{role}.use=folder", f"data.{role}.root={more}", f"data.{role}.classes=[white_silk]"]
    with pytest.raises(UserError) as caught:
        started(small_experiment, trained, more, *judged)
    assert caught.value.where == f"data.{role}"
    assert "init.checkpoint was trained on 8 of these images" in caught.value.problem
    run = started(small_experiment, trained, more, *judged, "data.allow_overlap=true")
    assert (run.data.records[role]["overlap_allowed"], run.data.records[role]["shared_images"]) == (True, 8)
    assert any("init.checkpoint was trained on 8 of these images" in note for note in run.data.notes)


def test_a_trained_picture_is_known_in_another_file(small_experiment: Path, trained: Path, more: Path) -> None:
    for image in (more / "white_silk/test").rglob("*.png"):
        Image.open(image).save(image, compress_level=0)
    judged = ["data.test.use=folder", f"data.test.root={more}", "data.test.classes=[white_silk]"]
    with pytest.raises(UserError, match=r"init\.checkpoint was trained on 8 of these images, by content"):
        started(small_experiment, trained, more, *judged)


def test_a_checkpoint_of_before_says_its_files_alone() -> None:
    files, pixels = ("00" * 8,), ("11" * 8,)
    strings = Metadata(training_images=files, training_pixels=pixels).as_strings()
    assert Metadata.from_strings(strings).training_pixels == pixels
    del strings["training_pixels"]
    assert Metadata.from_strings(strings) == Metadata(training_images=files)
    assert Metadata.from_strings(strings).says_all


def test_a_checkpoint_knows_what_its_first_weights_were_trained_on(
    small_experiment: Path, trained: Path, more: Path, tmp_path: Path
) -> None:
    first = read_metadata(trained / "checkpoints" / "loop_2.safetensors")
    run = started(small_experiment, trained, more)
    assert run.data.notes == ()
    execute(run, RunFolder.create(tmp_path / "run"), QuietScreen())
    second = read_metadata(tmp_path / "run" / "checkpoints" / "loop_1.safetensors")
    assert len(first.training_images) == 8 and len(second.training_images) == 16
    assert set(first.training_images) < set(second.training_images)
    assert second.says_all


def test_weights_that_do_not_say_it_leave_it_open(
    small_experiment: Path, trained: Path, more: Path, tmp_path: Path
) -> None:
    write(read(trained / "checkpoints" / "loop_2.safetensors"), tmp_path / "bare.safetensors", Metadata())
    run = started(small_experiment, tmp_path / "bare.safetensors", more)
    assert any("init.checkpoint does not say all the images" in note for note in run.data.notes)
    own = Metadata(training_images=("00",))
    assert own.says_all
    later = own.started_from(own.started_from(run.start))
    assert not later.says_all and later.training_images == ("00",)


def test_names_of_data_sets_are_handed_on() -> None:
    first, own = Metadata(Provenance(trained_on=("visa",))), Metadata(Provenance(trained_on=("mvtec",)))
    assert own.started_from(first).about.trained_on == ("visa", "mvtec")
    assert own.started_from(None) == own
    assert Metadata.from_strings({"about": '{"trained_on": "visa"}'}).about.trained_on == ("visa",)
