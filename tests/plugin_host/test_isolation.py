"""What a plugin may do wrong when it is loaded, beside what test_plugins.py has, and how it is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from aaclip_kit import API_VERSION, UserError
from aaclip_kit.plugin_host import discovery
from aaclip_kit.plugin_host.discovery import discover

from ..command import Command
from ..strangers import GOOD_LOSS, Strangers

HALF = """
from aaclip_kit import Options, hookimpl
class Some(Options):
    'Some.'
@hookimpl
def register_losses(register):
    register("half", print, Some)
    raise KeyError("later")
"""


MAJOR, MINOR = map(int, API_VERSION.split("."))


@pytest.mark.parametrize("stated", [API_VERSION, f"{MAJOR}.0"])
def test_a_plugin_of_this_api_or_an_older_minor_one_is_loaded(strangers: Strangers, stated: str) -> None:
    assert discover([strangers.add("fits", f"{GOOD_LOSS}\nAAKIT_API = '{stated}'")]).names("loss") == ["good"]


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        (f"'{MAJOR}.{MINOR + 1}'", f"needs API {MAJOR}.{MINOR + 1} of aaclip_kit, and this one has {API_VERSION}"),
        (f"'{MAJOR + 1}.0'", "upgrade aaclip-kit"),
        (f"'{MAJOR - 1}.9'", f"is written for API {MAJOR - 1}.9 of aaclip_kit, and this one has {API_VERSION}"),
        ("1.0", 'AAKIT_API is 1.0; it must be a text such as "'),
        ("'1'", "AAKIT_API is '1'; it must be a text"),
    ],
)
def test_a_plugin_of_another_api_is_shown_with_what_it_needs(strangers: Strangers, stated: str, reason: str) -> None:
    registry = discover([strangers.add("other", f"{GOOD_LOSS}\nAAKIT_API = {stated}"), strangers.add("fine", HALF)])
    failure = registry.failures[0] if registry.failures[0].plugin.name == "other" else registry.failures[1]
    assert reason in failure.reason
    assert registry.components == {}


def test_a_plugin_that_hangs_is_left_behind(strangers: Strangers) -> None:
    entries = [
        strangers.add("hangs", "import threading\nthreading.Event().wait(20)\n" + GOOD_LOSS.replace("good", "late")),
        strangers.add("works", GOOD_LOSS),
    ]
    registry = discover(entries, patience=0.3)
    assert registry.names("loss") == ["good"]
    (failure,) = registry.failures
    assert (failure.plugin.name, failure.reason) == ("hangs", "TimeoutError: was not loaded within 0.3 seconds")


def test_a_slow_plugin_works_and_is_remarked_on(
    strangers: Strangers, aakit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "SLOW", 0.2)
    strangers.add("slow", f"import time\ntime.sleep(0.3)\n{GOOD_LOSS}")
    code, out, _ = aakit("list-plugins")
    assert code == 0
    assert "slow: plugin slow-dist 2.0 (slow) took 0." in out
    del sys.modules["slow"]
    code, out, _ = aakit("list-plugins", "--json")
    assert json.loads(out)["slow"].keys() == {"slow"}


def test_what_a_plugin_prints_does_not_spoil_the_output(strangers: Strangers, aakit: Command) -> None:
    strangers.add("talks", f"print('hello')\n{GOOD_LOSS}")
    code, out, err = aakit("list-plugins", "--json")
    assert code == 0
    assert "good" in {component["name"] for component in json.loads(out)["components"]}
    assert err == "hello\n"


def test_a_component_of_a_failed_plugin_gives_that_plugins_own_error(strangers: Strangers) -> None:
    registry = discover([strangers.add("fails", HALF), strangers.add("other", "raise RuntimeError('not this one')")])
    with pytest.raises(UserError) as caught:
        registry.get("loss", "half", "file.toml: losses.text.x.use")
    message = str(caught.value)
    assert message.startswith(
        "file.toml: losses.text.x.use: loss 'half' cannot be used: fails-dist 2.0 (fails) failed to load: "
    )
    assert "KeyError: 'later'" in message
    assert "not this one" not in message
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(("name", "line"), [("half", 'raise KeyError("later")'), ("unknown", "raise RuntimeError")])
def test_the_traceback_of_a_failed_plugin_is_shown_on_request(
    strangers: Strangers, aakit: Command, small_experiment: Path, name: str, line: str
) -> None:
    strangers.add("fails", HALF)
    strangers.add("broken", "raise RuntimeError('no such luck')")
    arguments = ["validate", small_experiment, "--set", f"losses.text.extra.use={name}"]
    code, _, err = aakit(*arguments)
    assert code == 2
    assert "Traceback" not in err
    assert "--debug" in err
    code, _, err = aakit("--debug", *arguments)
    assert code == 2
    assert line in err
    assert "site" in err
    code, out, err = aakit("--debug", "list-plugins")
    assert code == 0
    assert line in err
    assert "loss" in out


def test_failures_are_records_too(strangers: Strangers, aakit: Command) -> None:
    strangers.add("fails", HALF)
    (failure,) = json.loads(aakit("list-plugins", "--json").out)["failures"]
    assert failure == {
        "plugin": "fails",
        "package": "fails-dist",
        "version": "2.0",
        "module": "fails",
        "reason": "KeyError: 'later'",
        "offered": [{"kind": "loss", "name": "half"}],
    }


@pytest.mark.parametrize(
    ("hook", "key", "contract"),
    [
        ("register_losses", "losses.text.extra", "Loss"),
        ("register_attention_stages", "stages.extra", "AttentionStage"),
        ("register_schedulers", "scheduler", "LoopScheduler"),
        ("register_data_sets", "data.test", "DataSet"),
        ("register_backbones", "backbone", "Backbone"),
    ],
)
def test_a_factory_that_gives_another_thing_is_its_plugins_fault(
    strangers: Strangers, aakit: Command, small_experiment: Path, tmp_path: Path, hook: str, key: str, contract: str
) -> None:
    options = "StageOptions" if "stage" in hook else "Options"
    strangers.add(
        "odd",
        f"from aaclip_kit import {options}, hookimpl\nclass Some({options}):\n    'Some.'\n"
        f"@hookimpl\ndef {hook}(register): register('odd', lambda *given: 5, Some)",
    )
    more = ["--set", f'{key}.tower="vision"', "--set", f"{key}.after=[0]"] if "stage" in hook else []
    code, _, err = aakit("run", small_experiment, "--out", tmp_path / "out", "--set", f"{key}.use=odd", *more)
    assert code == 2
    assert "odd-dist 2.0 (odd): the factory of" in err
    assert f"gave int, which is no {contract}" in err
    assert not (tmp_path / "out").exists()
