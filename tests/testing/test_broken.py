"""Plugins that each break one promise: the check that is meant for it says so, and none before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit.plugin_host.registry import KINDS, Kind
from aaclip_kit.testing import checks_of, tiny_experiment
from aaclip_kit.testing.subject import NotApplicable, Subject, find_subject

from ..tiers import daily
from .broken import backbones, data_sets, heads, losses, prompts, references, schedulers, stages, trackers
from .walk import first_broken

FILES: dict[Kind, Any] = {
    "attention-stage": stages,
    "backbone": backbones,
    "prompts": prompts,
    "head": heads,
    "reference": references,
    "loss": losses,
    "scheduler": schedulers,
    "data-set": data_sets,
    "tracker": trackers,
}
BROKEN = [(kind, name) for kind, module in FILES.items() for name in module.CAUGHT_BY]


@pytest.fixture(scope="module")
def subject_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind, str], Subject]:
    """A component of the plugin file of its kind."""
    root = tmp_path_factory.mktemp("tiny")
    tiny_experiment(root)

    def find(kind: Kind, name: str) -> Subject:
        options = {"root": str(root / "tiny_data")} if kind == "data-set" else {}
        return find_subject(kind, name, options, Path(FILES[kind].__file__))

    return find


@pytest.mark.parametrize(("kind", "name"), BROKEN, ids=lambda value: value)
def test_the_check_that_is_meant_for_it_catches_it(
    subject_of: Callable[[Kind, str], Subject], kind: Kind, name: str
) -> None:
    expected = FILES[kind].CAUGHT_BY[name]
    broken = first_broken(subject_of(kind, name), expected)
    assert broken is not None, f"{expected} found nothing wrong with {name}"
    assert broken.check.id == expected, str(broken)
    head, found, contract, mend = str(broken).splitlines()
    words = broken.check.name.replace("-", " ")
    assert head == f"{kind} '{name}' breaks its contract: {expected} {words}"
    assert found.startswith("  found: ") and len(found) > len("  found: ")
    assert contract == f"  contract: {broken.check.promise} (docs/plugins/kinds/{kind}.md, {expected})"
    assert mend == f"  mend: {broken.check.mend}"


def test_a_backbone_without_text_keeps_every_promise_and_is_not_asked_for_text(
    subject_of: Callable[[Kind, str], Subject],
) -> None:
    subject, skipped = subject_of("backbone", "good_without_text"), {}
    for check in checks_of("backbone"):
        try:
            check.run(subject)
        except NotApplicable as reason:
            skipped[check.id] = str(reason)
    assert skipped == dict.fromkeys(("B4", "B5", "B11"), "the backbone has no text tower")


def test_every_kind_is_here() -> None:
    assert set(FILES) == set(KINDS)


@pytest.mark.parametrize("kind", daily(FILES, "attention-stage"))
def test_what_they_differ_from_keeps_every_promise(subject_of: Callable[[Kind, str], Subject], kind: Kind) -> None:
    broken = first_broken(subject_of(kind, "good"))
    assert broken is None, str(broken)


@pytest.mark.parametrize("kind", FILES)
def test_every_check_catches_something(kind: Kind) -> None:
    assert set(FILES[kind].CAUGHT_BY.values()) == {check.id for check in checks_of(kind)}
