from __future__ import annotations

import sys
import types
from importlib import import_module
from typing import Any

import pytest
import torch

from aaclip_kit.doctor import installation as module
from aaclip_kit.doctor.installation import libraries, pairing


def test_libraries_that_fit_are_good() -> None:
    found = list(libraries())
    assert [(one.name, one.status) for one in found] == [("torch", "good"), ("torchvision", "good")]
    assert found[0].found.startswith(f"{torch.__version__}, built ")


def fail_on(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    def load(wanted: str) -> types.ModuleType:
        if wanted == name:
            raise error
        return import_module(wanted)

    monkeypatch.setattr(module, "import_module", load)


def test_builds_that_do_not_match_say_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.6.0+cu124")
    fail_on(monkeypatch, "torchvision", RuntimeError("operator torchvision::nms does not exist"))
    good, pickles, bad = libraries()
    assert (good.status, pickles.status, bad.status) == ("good", "note", "bad")
    assert "CVE-2026-24747" in pickles.found and pickles.advice and "AAKIT_TRUST_PICKLES=1" in pickles.advice
    assert "operator torchvision::nms does not exist" in bad.found and "torch 2.6.0+cu124" in bad.found
    assert bad.advice and "'torchvision==0.21.*'" in bad.advice and "cu124" in bad.advice


def test_an_operator_that_is_missing_only_when_called_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = pytest.importorskip("torchvision")

    def nms(*_: Any) -> None:
        raise RuntimeError("Couldn't load custom C++ ops")

    monkeypatch.setattr(torchvision.ops, "nms", nms)
    _, bad = libraries()
    assert bad.status == "bad" and "Couldn't load custom C++ ops" in bad.found


def test_torch_that_cannot_be_imported_ends_the_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_on(monkeypatch, "torch", OSError("libcudart.so.13: cannot open\nshared object"))
    (bad,) = libraries()
    assert bad.status == "bad" and bad.advice
    assert bad.found.endswith("cannot be imported: OSError: libcudart.so.13: cannot open shared object")


def test_a_library_that_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    fail_on(monkeypatch, "torch", ModuleNotFoundError("No module named 'torch'"))
    (bad,) = libraries()
    assert "torch, which is not installed, cannot be imported" in bad.found


@pytest.mark.parametrize(
    ("version", "wanted"),
    [("2.6.0", "'torchvision==0.21.*'"), ("2.14.1+cpu", "'torchvision==0.29.*'"), ("3.0.0", "'torchvision'")],
)
def test_the_torchvision_that_goes_with_a_torch(version: str, wanted: str) -> None:
    assert wanted in pairing(version)


def test_the_pair_that_is_installed_follows_the_rule() -> None:
    torchvision = pytest.importorskip("torchvision")
    major, minor = torchvision.__version__.split(".")[:2]
    assert f"'torchvision=={major}.{minor}.*'" in pairing(torch.__version__)
