"""The resolved copy: every default spelled out, the same experiment again from anywhere."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from aaclip_kit.experiment import Experiment, load, resolved_toml
from aaclip_kit.plugin_host.registry import Registry

Load = Callable[..., Experiment]
OVERRIDES = {
    "as it is": (),
    "published": ("profile=published", "switches.dropout=true"),
    "everything": (
        "seed=9223372036854775807",
        "augmentation.geometry=0",
        "model.levels=[2,4]",
        "head.activation=true",
        "losses.text.orthogonality.weight=1e-05",
        "data.test.real_names={green_wood='a \"green\" [wood] \\ é'}",
        "data.validation.use=synthetic",
        "data.validation.split=validation",
        "evaluation.text_conditioning=image",
        "augmentation.views=3",
        "cache.features=disk",
        "cache.memory_gb=0.5",
    ),
}


@pytest.mark.parametrize("overrides", OVERRIDES.values(), ids=OVERRIDES)
def test_the_copy_is_the_same_experiment(
    checked: Load, registry: Registry, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    experiment = checked(*overrides)
    copy = tmp_path / "elsewhere" / "copy.toml"
    copy.parent.mkdir()
    copy.write_text(resolved_toml(experiment), encoding="utf-8")
    again = load(copy, registry)
    assert again.switches == experiment.switches
    assert again.losses == experiment.losses
    assert again.stages == experiment.stages
    assert again.file.augmentation == experiment.file.augmentation
    assert again.file.cache == experiment.file.cache
    assert again.file.seed == experiment.file.seed
    assert resolved_toml(again) == resolved_toml(experiment)


def test_every_default_is_spelled_out(checked: Load) -> None:
    experiment = checked()
    tables = tomllib.loads(resolved_toml(experiment))
    for name in ("seed", "profile", "device", "precision", "workers"):
        assert name in tables
    for table in ("switches", "augmentation", "evaluation"):
        assert tables[table] == getattr(experiment.file, table).model_dump()
    assert tables["stages"]["text_to_image"]["heads"] == 8
    assert tables["losses"]["vision"]["detection"] == {"use": "image_cross_entropy", "weight": 1.0}
    given = tables["scheduler"].keys() - {"use"}
    assert given == {name for name, value in experiment.scheduler.options if value is not None}


def test_the_order_of_stages_stays(checked: Load, edit: Callable[[str, str], None]) -> None:
    names = list(checked().stages)
    assert list(tomllib.loads(resolved_toml(checked()))["stages"]) == names
    edit("[stages.text_to_image]", "[stages.zzz]")
    assert next(iter(tomllib.loads(resolved_toml(checked()))["stages"])) == "zzz"


def test_paths_become_absolute(checked: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = ("data.train.root=here/data", "data.test.root=~/data", "init.checkpoint=~/a.safetensors",
                 "cache.folder=kept")  # fmt: skip
    tables = tomllib.loads(resolved_toml(checked(*overrides)))
    assert Path(tables["data"]["train"]["root"]) == (tmp_path / "here" / "data").resolve()
    assert Path(tables["data"]["test"]["root"]) == (Path.home() / "data").resolve()
    assert Path(tables["init"]["checkpoint"]) == (Path.home() / "a.safetensors").resolve()
    assert Path(tables["cache"]["folder"]) == (tmp_path / "kept").resolve()
