from __future__ import annotations

import pytest

from aaclip_kit.doctor import installation as module
from aaclip_kit.doctor.installation import plugins
from aaclip_kit.plugin_host import discovery
from aaclip_kit.plugin_host.registry import Registry

from ..strangers import GOOD_LOSS, Strangers


def test_plugins_that_load_are_counted() -> None:
    registry = discovery.discover()
    (found, *_) = plugins()
    assert (found.name, found.status) == ("plugins", "good")
    assert found.found.startswith(f"{len(registry.components)} components of ") and "aaclip-kit" in found.found


def test_a_broken_plugin_is_named_with_its_reason(strangers: Strangers) -> None:
    strangers.add("broken", "raise ValueError('no luck')")
    (found,) = [one for one in plugins() if one.status == "bad"]
    assert found.name == "plugin broken"
    assert found.found == "broken-dist 2.0 (broken) cannot be used: ValueError: no luck"
    assert found.advice and "pip uninstall broken-dist" in found.advice and "--debug" in found.advice


def test_two_owners_of_a_name_are_named(strangers: Strangers) -> None:
    for name in ("one", "two"):
        strangers.add(name, GOOD_LOSS)
    (found,) = [one for one in plugins() if one.status == "bad"]
    assert found.found == "loss 'good' is registered twice, by one-dist 2.0 (one) and two-dist 2.0 (two)"
    assert found.advice == "uninstall one of them"


def test_a_slow_plugin_is_a_note(strangers: Strangers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "SLOW", 0.2)
    strangers.add("slow", f"import time\ntime.sleep(0.3)\n{GOOD_LOSS}")
    (found,) = [one for one in plugins() if one.name == "plugin slow"]
    assert found.status == "note" and "took 0." in found.found


def test_no_plugin_at_all_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "discover", Registry)
    (found,) = plugins()
    assert found.status == "bad" and found.advice
