from __future__ import annotations

import sys

import aaclip_kit_plugins.embedded.backbone
import aaclip_kit_plugins.open_clip
import pytest

from aaclip_kit import UserError
from aaclip_kit.doctor import installation as module
from aaclip_kit.doctor.installation import weights
from aaclip_kit.plugin_host.registry import Registry


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the plugin says that there is."""
    names: list[str] = []
    monkeypatch.setattr(aaclip_kit_plugins.open_clip, "weights_at_hand", lambda: names)
    return names


def test_the_embedded_model_loads_and_nothing_else_is_there(at_hand: list[str]) -> None:
    model, fetched = weights()
    assert (model.name, model.status) == ("embedded model", "good")
    assert model.found == "loads, 4.9 million weights, 112 px"
    assert (fetched.status, fetched.found[:5]) == ("good", "none;")


def test_fetched_weights_are_named(at_hand: list[str]) -> None:
    at_hand += ["ViT-B-16 openai", "ViT-L-14-336 openai"]
    assert list(weights())[1].found == "ViT-B-16 openai, ViT-L-14-336 openai"


def test_a_plugin_need_not_know_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(aaclip_kit_plugins.open_clip, "weights_at_hand")
    assert list(weights())[1].found.startswith("none;")


def test_weights_that_are_gone_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = aaclip_kit_plugins.embedded.WEIGHTS.with_name("gone.safetensors")
    monkeypatch.setattr(aaclip_kit_plugins.embedded.backbone, "WEIGHTS", gone)
    (found,) = weights()
    assert (found.name, found.status) == ("embedded model", "bad")
    assert found.found.endswith("gone.safetensors: does not exist")
    assert found.advice and found.advice.startswith("restore the file")


def test_a_library_that_fails_is_not_called_the_plugins_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "aaclip_kit_plugins.embedded.backbone", raising=False)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    (found,) = weights()
    assert found.status == "bad" and "raised ModuleNotFoundError" in found.found
    assert found.advice and found.advice.startswith("mend what is bad above")


def test_without_the_backbone_the_plugins_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "discover", Registry)
    with pytest.raises(UserError, match="there is no backbone called 'embedded'"):
        list(weights())
