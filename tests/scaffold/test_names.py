"""Names of a new package: what is made of them, and which are refused."""

from __future__ import annotations

import pytest

from aaclip_kit.contracts.options import Options
from aaclip_kit.plugin_host.registry import Component, Kind, Plugin, Registry
from aaclip_kit.scaffold import Package
from aaclip_kit.scaffold.plugin_package import name_faults


def faults(name: str, kind: Kind = "attention-stage", registry: Registry | None = None) -> list[str]:
    """Problems only; each has its place and its fix."""
    found = list(name_faults(Package(name, kind), registry or Registry()))
    assert all(fault.where and fault.fix for fault in found)
    return [fault.problem for fault in found]


@pytest.mark.parametrize(
    ("name", "module", "class_name"),
    [
        ("my-attention", "my_attention", "MyAttention"),
        ("My.Own--stage_2", "my_own_stage_2", "MyOwnStage2"),
        ("x", "x", "X"),
    ],
)
def test_module_and_class_follow_from_the_name(name: str, module: str, class_name: str) -> None:
    package = Package(name, "attention-stage")
    assert (package.module, package.class_name, package.first) == (module, class_name, f"{module}/stage.py")
    assert faults(name) == []


@pytest.mark.parametrize("name", ["", "3d", "class", "a b", "-a", "a-", "a/b", "..", "./a", "über", "a\n", "_a"])
def test_a_name_without_the_form_of_one_is_refused(name: str) -> None:
    assert faults(name) == [f"the name '{name}' gives no package that Python can import"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("json", "a module of Python's standard library"),
        ("torch", "a module 'torch' is installed already"),
        ("aaclip-kit-plugins", "a module 'aaclip_kit_plugins' is installed already"),
        ("pillow", "a package of that name is installed already: pillow "),
        ("tests", "a folder that the new package has, or gets, beside its own"),
        ("context", "its class would be called Context"),
        ("stage", "its class would be called StageOptions"),
        ("tensor", "its class would be called Tensor"),
    ],
)
def test_a_name_that_is_taken_is_refused(name: str, said: str) -> None:
    (problem,) = faults(name)
    assert said in problem


def test_a_registered_component_keeps_its_name_within_its_kind() -> None:
    registry = Registry()
    owners = [Plugin(name, f"{name}_module", f"{name}-package", "1.0") for name in ("one", "two")]
    registry.add(Component("loss", "my_loss", print, Options, owners[0]))
    assert faults("my-loss", "scheduler", registry) == []
    assert faults("my-loss", "loss", registry) == [
        "loss 'my_loss' is registered already, by one-package 1.0 (one_module)"
    ]
    registry.add(Component("loss", "my_loss", print, Options, owners[1]))
    (problem,) = faults("my-loss", "loss", registry)
    assert "one-package 1.0 (one_module) and two-package 1.0 (two_module)" in problem


def test_all_that_is_wrong_with_a_name_is_said_at_once() -> None:
    registry = Registry()
    registry.add(Component("loss", "context", print, Options, Plugin("one", "one_module", "one-package", "1.0")))
    class_name, component = faults("context", "loss", registry)
    assert "its class would be called Context" in class_name
    assert "is registered already" in component
