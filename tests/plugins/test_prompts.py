"""The prompts `ensemble`: words, projections and averages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from aaclip_kit_plugins.prompts import EnsembleOptions
from aaclip_kit_plugins.prompts.ensemble import Ensemble
from aaclip_kit_plugins.prompts.published import ENSEMBLES
from pydantic import ValidationError
from torch.nn import functional

from aaclip_kit import PromptSetting, text_tower
from aaclip_kit.experiment import load
from aaclip_kit.model.anomaly_model import AnomalyModel
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble

from ..build import text_projection_of
from ..helpers import assert_close


def fresh(path: Path, *overrides: str) -> AnomalyModel:
    return assemble(load(path, discover(), overrides)).model


def words(**options: object) -> Ensemble:
    unused = object.__new__(PromptSetting)  # without a projection the setting is not looked at
    return Ensemble(EnsembleOptions.model_validate({"projection": "frozen", **options}), unused)


def text_tokens(model: AnomalyModel) -> torch.Tensor:
    return torch.randn(3, text_tower(model.backbone).width, generator=torch.Generator().manual_seed(0))


def test_the_prompts_of_a_class_are_those_of_the_method() -> None:
    normal = ["x.", "a photo of x.", "a x.", "a photo of a x.", "the x.", "a photo of the x."]
    abnormal = ["a damaged x", "a broken x", "a x with flaw", "a x with defect", "a x with damage"]
    prompts = words().prompts("x")
    assert prompts == normal + [text for state in abnormal for text in (f"{state}.", f"a photo of {state}.")]
    assert words().normal_prompts == 6


@pytest.mark.parametrize("name", list(ENSEMBLES))
def test_every_published_ensemble_has_its_states_in_each_of_its_templates(name: str) -> None:
    made, published = words(ensemble=name), ENSEMBLES[name]
    prompts = made.prompts("metal nut")
    states = (*published.normal, *published.abnormal)
    assert len(prompts) == len(states) * len(published.templates)
    assert made.normal_prompts == len(published.normal) * len(published.templates)
    assert all("metal nut" in prompt and "{" not in prompt for prompt in prompts)


def test_own_words_stand_in_place_of_the_ensembles() -> None:
    own = words(normal=["good {}"], abnormal=["bad {}", "worn {}"], templates=["a {}!", "{}?"])
    assert own.prompts("nut") == ["a good nut!", "good nut?", "a bad nut!", "bad nut?", "a worn nut!", "worn nut?"]
    assert own.normal_prompts == 2
    some = words(abnormal=["bad {}"])
    assert some.states == (*ENSEMBLES["aa_clip"].normal, "bad {}") and some.templates == ENSEMBLES["aa_clip"].templates


def test_a_name_with_braces_is_a_name() -> None:
    assert words(normal=["{}"], abnormal=["bad {}"], templates=["a {}"]).prompts("{}") == ["a {}", "a bad {}"]


@pytest.mark.parametrize("text", ["no place", "{} and {}", "{name}", "{} {x}"])
def test_a_template_without_one_place_for_the_name_is_an_error(text: str) -> None:
    with pytest.raises(ValidationError, match="once, where the name stands"):
        EnsembleOptions(templates=(text,))


def test_as_published_the_projection_is_drawn_and_has_an_activation(small_experiment: Path) -> None:
    model, other = fresh(small_experiment), fresh(small_experiment, "seed=4")
    weight = text_projection_of(model).weight
    assert not torch.equal(weight, text_projection_of(other).weight)
    assert model.prompts is not None
    tokens = text_tokens(model)
    assert_close(model.prompts.project(model.backbone, tokens), functional.leaky_relu(tokens @ weight.T, 0.01))


@torch.no_grad()
def test_it_can_start_from_the_backbones_own_or_stay_that(small_experiment: Path) -> None:
    for choice, trained in (("backbone", 1), ("frozen", 0)):
        model = fresh(small_experiment, f"prompts.projection={choice}")
        assert model.prompts is not None and len(list(model.prompts.parameters())) == trained
        tokens = text_tokens(model)
        own = model.backbone.project_text(tokens)
        assert_close(model.prompts.project(model.backbone, tokens), own, atol=1e-5)
        assert_close(model.prompts.project_untrained(model.backbone, tokens), own)


@pytest.mark.parametrize("average", ["unit", "raw"])
def test_features_are_averaged_by_state(small_experiment: Path, average: str) -> None:
    prompts = fresh(small_experiment, f"prompts.average={average}").prompts
    assert prompts is not None
    features = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(1)) + 1
    found = prompts.combine(features)
    for name in range(2):
        for column, part in enumerate((features[name, :6], features[name, 6:])):
            each = [one / one.norm() if average == "unit" else one for one in part]
            mean = torch.stack(each).mean(0)
            assert_close(found[name, :, column], mean / mean.norm() if average == "unit" else mean)
