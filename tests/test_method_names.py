"""The engine holds no branch for a method: what is a method's own stands in the plugins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CORE = Path(__file__).parents[1] / "aaclip_kit"
METHODS = re.compile(r"april|anomaly_?clip|win_?clip|ada_?clip|aa_clip|visual_?ad\b|\bvand\b", re.IGNORECASE)


def named(text: str) -> list[str]:
    return METHODS.findall(text)


def test_no_source_of_the_core_names_a_method() -> None:
    sources = [path for path in CORE.rglob("*") if path.suffix in (".py", ".jinja", ".toml")]
    assert len(sources) > 150
    assert {path: names for path in sources if (names := named(path.read_text()))} == {}


@pytest.mark.parametrize(
    "text", ["if name == 'WinCLIP':", "april_gan", "class AnomalyCLIP:", "adaclip", "use = 'aa_clip'"]
)
def test_a_method_in_the_core_would_be_seen(text: str) -> None:
    assert named(text)


def test_the_toolkits_own_name_is_none_of_them() -> None:
    assert not named("from aaclip_kit import AnomalyModel")
