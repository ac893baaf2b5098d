"""The profiles: `corrected` is the default, `published` sets every switch, and single switches may differ."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aaclip_kit_plugins.open_clip import OpenClipOptions

import aaclip_kit
from aaclip_kit.experiment import Experiment
from aaclip_kit.experiment.schema import PUBLISHED_SWITCHES, ExperimentFile, Switches

Load = Callable[..., Experiment]


def activation(experiment: Experiment) -> str:
    """The activation that the backbone of an experiment is to have."""
    options = experiment.backbone.options
    assert isinstance(options, OpenClipOptions)
    return options.activation


def test_published_names_every_switch_and_differs_from_corrected_in_each() -> None:
    assert set(PUBLISHED_SWITCHES) == set(Switches.model_fields)
    corrected, published = Switches(), Switches(**PUBLISHED_SWITCHES)
    for name in Switches.model_fields:
        assert getattr(published, name) != getattr(corrected, name), f"{name} is the same in both profiles"


def test_corrected_is_the_default(checked: Load) -> None:
    assert checked().file.profile == "corrected"
    assert checked().switches == checked("profile=corrected").switches == Switches()
    assert activation(checked()) == "auto"


def test_published_sets_every_switch_and_the_activation(checked: Load) -> None:
    experiment = checked("profile=published")
    assert experiment.switches == Switches(**PUBLISHED_SWITCHES)
    assert activation(experiment) == "gelu"


@pytest.mark.parametrize("name", list(Switches.model_fields))
def test_one_switch_may_differ_from_its_profile(checked: Load, name: str) -> None:
    corrected, published = getattr(Switches(), name), PUBLISHED_SWITCHES[name]
    texts = {value: str(value).lower() for value in (corrected, published)}
    mostly_published = checked("profile=published", f"switches.{name}={texts[corrected]}").switches
    assert mostly_published == Switches(**{**PUBLISHED_SWITCHES, name: corrected})
    mostly_corrected = checked(f"switches.{name}={texts[published]}").switches
    assert mostly_corrected == Switches(**{name: published})


def test_the_activation_may_differ_from_the_profile(checked: Load) -> None:
    assert activation(checked("profile=published", "backbone.activation=quick_gelu")) == "quick_gelu"


def test_a_faulty_switch_is_found_in_either_profile(checked: Load) -> None:
    for profile in ("corrected", "published"):
        with pytest.raises(aaclip_kit.UserErrors) as caught:
            checked(f"profile={profile}", "switches.image_context=mean", "switches.droput=false")
        assert len(caught.value.faults) == 2


def test_every_key_of_the_engine_is_read_by_the_engine() -> None:
    """An option that validates and does nothing would be worse than none."""
    folder = Path(aaclip_kit.__file__).parent
    read = {pair for file in folder.rglob("*.py") if "experiment" not in file.parts for pair in reads(file)}
    pending: list[tuple[str, type[Any]]] = [("file", ExperimentFile)]
    by_experiment = {"backbone", "prompts", "head", "stages", "losses", "scheduler", "text", "vision", "both", "data"}
    by_experiment |= {"train", "test", "validation", "calibration", "reference", "trackers"}
    unread = []
    while pending:
        table, model = pending.pop()
        for name, info in model.model_fields.items():
            if isinstance(info.annotation, type) and hasattr(info.annotation, "model_fields"):
                pending.append((name, info.annotation))
            elif name not in by_experiment and not {(table, name), (model.__name__, name)} & read:
                unread.append(f"{table}.{name}")
    assert unread == [], "accepted and never read"


def reads(file: Path) -> Iterator[tuple[str, str]]:
    """What a module takes from where: `evaluation.blur` as (evaluation, blur), also by another name for a table.

    Such names are those that an assignment gives, and `table` where the module names a table's class.
    """
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    tables = set(re.findall(r"\b(?:\w+Table|Switches)\b", text))
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
            aliases.update({target.id: node.value.attr for target in node.targets if isinstance(target, ast.Name)})
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = getattr(node.value, "attr", getattr(node.value, "id", ""))
            yield from ((name, node.attr) for name in {owner, aliases.get(owner, owner)})
            yield from ((name, node.attr) for name in tables if owner in ("table", "switches"))


def test_the_reader_of_tables_tells_one_table_from_another(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "def f(file, other):\n    size = file.evaluation\n    return size.blur, other.seed\n"
    )
    assert {("evaluation", "blur"), ("other", "seed")} <= set(reads(tmp_path / "a.py"))
    assert ("file", "seed") not in set(reads(tmp_path / "a.py"))
