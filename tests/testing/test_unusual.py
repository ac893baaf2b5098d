"""Stages that do something unusual and keep every promise: no check cries wolf, and what cannot be tried is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from aaclip_kit.testing import checks_of
from aaclip_kit.testing.subject import NotApplicable, find_subject

from ..tiers import daily
from . import unusual


@pytest.mark.parametrize("name", daily(unusual.STAGES, "begins_at_zero"))
def test_no_check_fails_and_those_that_cannot_try_it_skip(name: str) -> None:
    options = {"tower": "vision", "after": [0, 3]}
    subject = find_subject("attention-stage", name, options, Path(unusual.__file__))
    skipped = {}
    for check in checks_of("attention-stage"):
        try:
            check.run(subject)
        except NotApplicable as reason:
            skipped[check.id] = str(reason)
    assert set(skipped) == unusual.STAGES[name][2]
    if name == "positive_scale":
        assert skipped["S16"] == "the options refuse a scale of 0"
    if name == "reads_values":
        assert "reads values from the device" in skipped["S15"]
