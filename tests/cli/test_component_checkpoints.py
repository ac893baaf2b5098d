"""Published checkpoints whose components name their tensors: in, bit for bit, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaclip_kit.checkpoints.checkpoint import read
from aaclip_kit.checkpoints.published_layout import model_without_weights
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover

from ..command import Command
from .conftest import assert_plain

FILE = Path(__file__).parents[2] / "experiments" / "methods" / "anomaly_clip.toml"
OTHER = Path(__file__).parents[2] / "experiments" / "feedback.toml"


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    """What a published file of the learnt prompts holds, dead tensors among it."""
    model = model_without_weights(load(FILE, discover()))
    shapes, names = model.all_trained_parameters(), model.published_names()
    generator = torch.Generator().manual_seed(0)
    own = {
        key.removeprefix("prompt_learner."): torch.randn(shapes[name].shape, generator=generator)
        for name, key in names.items()
    }
    return own | {"token_prefix_pos": torch.zeros(1, 1, 1, 4), "compound_prompt_projections.0.bias": torch.zeros(3)}


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save({"prompt_learner": tensors}, path)
    return path


def test_a_published_file_comes_in_bit_for_bit_without_its_dead_tensors(
    aakit: Command, tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    ran = aakit(
        "import-checkpoint", saved(tmp_path / "epoch_15.pth", tensors), "--experiment", FILE, "--out", tmp_path / "in"
    )
    assert ran.code == 0 and "prompts 'learnt'" in ran.out and "token_prefix_pos" in ran.out
    state = read(tmp_path / "in" / "imported.safetensors")
    names = model_without_weights(load(FILE, discover())).published_names()
    assert state.keys() == names.keys()
    assert all(
        torch.equal(value, tensors[names[name].removeprefix("prompt_learner.")]) for name, value in state.items()
    )


def test_what_does_not_fit_is_one_plain_error_and_leaves_nothing(
    aakit: Command, tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    first = next(iter(tensors))
    for arguments, given, said in (
        (("--experiment", OTHER), tensors, "is a checkpoint of prompts 'learnt'"),
        ((), tensors, "name an experiment that has it"),
        (("--experiment", FILE), {**tensors, "odd": torch.zeros(1)}, "prompt_learner.odd has no place"),
        (("--experiment", FILE), {key: value for key, value in tensors.items() if key != first}, f"{first} is missing"),
        (("--experiment", FILE), {**tensors, first: torch.full_like(tensors[first], torch.nan)}, "not finite"),
    ):
        ran = aakit("import-checkpoint", saved(tmp_path / "a.pth", given), *arguments, "--out", tmp_path / "in")
        assert_plain(ran)
        assert said in ran.err
        assert not (tmp_path / "in").exists()


@pytest.mark.parametrize(
    ("key", "of", "experiment"),
    [
        ("trainable_linearlayer.fc.0.weight", "head 'april_gan'", "ada_clip"),
        ("clip_model.text_prompter.static_prompts.1", "prompts 'ada_clip'", "anomaly_clip"),
        ("prompt_learner.ctx_pos", "prompts 'learnt'", "april_gan"),
    ],
)
def test_a_checkpoint_of_another_method_is_told_by_its_keys(
    aakit: Command, tmp_path: Path, key: str, of: str, experiment: str
) -> None:
    file = tmp_path / "published.pth"
    torch.save({key: torch.zeros(2)}, file)
    other = FILE.with_name(f"{experiment}.toml")
    ran = aakit("import-checkpoint", file, "--experiment", other, "--out", tmp_path / "in")
    assert_plain(ran)
    assert f"is a checkpoint of {of}, which the experiment does not have" in ran.err
    assert not (tmp_path / "in").exists()
