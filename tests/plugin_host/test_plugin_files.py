"""Plugin files: loaded because the experiment file names them, and only then."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from aaclip_kit import UserError, load_model
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover, with_plugin_files
from aaclip_kit.plugin_host.registry import Registry

from ..command import Command
from ..strangers import SHIFT as STAGE

pytestmark = pytest.mark.usefixtures("undrawn")

TABLES = '\n[stages.mine]\nuse = "shift"\ntower = "vision"\nafter = [0]\n'


@pytest.fixture
def experiment(small_experiment: Path) -> Path:
    """The small experiment with a stage of a file beside it; the command runs in another folder."""
    (small_experiment.parent / "my_stage.py").write_text(STAGE)
    small_experiment.write_text('plugins = ["./my_stage.py"]\n' + small_experiment.read_text() + TABLES)
    return small_experiment


def test_a_run_trains_it_and_says_which_file_it_was(
    aakit: Command, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defects: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, _, err = aakit("run", experiment, "--out", tmp_path / "run")
    assert code == 0, err
    weights = load_file(tmp_path / "run" / "checkpoints" / "loop_2.safetensors")
    assert weights["sites.stages.mine.0.shift"].abs().max() > 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["plugins"]["attention-stage:shift"].startswith("my_stage.py sha256:")

    # A model's own experiment names a program; it is run when the user names that experiment, and not before.
    test = [f"data.test.{key}" for key in ("use=folder", f"root={defects}", 'classes=["green_wood"]')]
    arguments = ["evaluate", tmp_path / "run", *(word for one in test for word in ("--set", one))]
    for name in [name for name in sys.modules if "my_stage" in name]:
        del sys.modules[name]
    code, _, err = aakit(*arguments)
    assert code == 2
    assert "uses plugin files, which are programs: " in err
    assert f"--experiment {tmp_path / 'run' / 'experiment.toml'}" in err
    assert not [name for name in sys.modules if "my_stage" in name]
    code, _, err = aakit(*arguments, "--experiment", tmp_path / "run" / "experiment.toml")
    assert code == 0, err
    with pytest.raises(UserError, match="which are programs"):
        load_model(tmp_path / "run")
    named = load_model(tmp_path / "run", tmp_path / "run" / "experiment.toml")
    assert "mine" in named.model.slots.stages


@pytest.mark.slow
def test_the_resolved_experiment_runs_again_anywhere(aakit: Command, experiment: Path, tmp_path: Path) -> None:
    assert aakit("run", experiment, "--out", tmp_path / "one").code == 0
    assert aakit("run", tmp_path / "one" / "experiment.toml", "--out", tmp_path / "two").code == 0
    first, second = ((tmp_path / name / "metrics.json").read_bytes() for name in ("one", "two"))
    assert first == second


def test_the_path_starts_from_the_file_and_in_an_override_from_here(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    registry = discover()
    (found,) = load(experiment, registry).file.plugins
    assert found.resolve() == (experiment.parent / "my_stage.py").resolve()
    with pytest.raises(UserError, match=r"here.my_stage\.py there is no such file"):
        load(experiment, registry, ['plugins=["my_stage.py"]'])
    shutil.copy(experiment.parent / "my_stage.py", here)
    load(experiment, registry, ['plugins=["my_stage.py"]'])


def test_other_experiments_and_the_registry_know_nothing_of_it(experiment: Path, small_experiment: Path) -> None:
    registry = discover()
    load(experiment, registry)
    assert "shift" not in registry.names("attention-stage")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('no such luck')", "failed to load: RuntimeError: no such luck"),
        ("import sys; sys.exit(3)", "failed to load: SystemExit: 3"),
        ("def (", "failed to load: SyntaxError"),
        ("VALUE = 1", "implements no hook"),
        (STAGE.replace("register_attention_stages", "register_attention_stage"), "did you mean register_attention"),
        (STAGE + "\nAAKIT_API = '99.0'", "needs API 99.0"),
        (STAGE.replace('"shift"', '"residual_adapter"'), "is registered twice, by my_stage.py"),
    ],
)
def test_a_file_that_is_no_plugin_is_one_plain_error(
    aakit: Command, experiment: Path, tmp_path: Path, source: str, said: str
) -> None:
    (experiment.parent / "my_stage.py").write_text(source)
    code, _, err = aakit("run", experiment, "--out", tmp_path / "out")
    assert code == 2
    assert said in err or said.replace("by my_stage.py", "by aaclip-kit") in err
    assert "my_stage.py" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
    code, _, err = aakit("--debug", "run", experiment, "--out", tmp_path / "out")
    assert code == 2
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('["./none.py"]', "none.py there is no such file"),
        ('["."]', "is a folder, and no file"),
        ('"./my_stage.py"', "plugins: input should be an array"),
        ("[3]", "plugins.0: "),
    ],
)
def test_a_key_that_names_no_file_is_told(aakit: Command, experiment: Path, given: str, said: str) -> None:
    experiment.write_text(experiment.read_text().replace('["./my_stage.py"]', given))
    code, _, err = aakit("validate", experiment)
    assert code == 2
    assert said in err
    assert str(experiment) in err


def test_a_file_that_is_no_python_is_told(tmp_path: Path) -> None:
    file = tmp_path / "stage.txt"
    file.write_text(STAGE)
    with pytest.raises(UserError, match=r"its name must end in \.py"):
        with_plugin_files(Registry(), [file], "plugins")


def test_a_changed_file_is_another_plugin(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # which goes by second and size: both are the same
    registry, file = discover(), experiment.parent / "my_stage.py"
    first = load(experiment, registry).stages["mine"].component
    again = load(experiment, registry).stages["mine"].component
    file.write_text(STAGE.replace("Adds a", "Puts a"))
    second = load(experiment, registry).stages["mine"].component
    assert (first.plugin, first.options) == (again.plugin, again.options)
    assert (first.description, second.description) == tuple(
        f"{verb} a learnt vector to every token." for verb in ("Adds", "Puts")
    )
    assert first.plugin.version != second.plugin.version


def test_a_finished_seed_of_a_changed_file_is_not_kept(aakit: Command, experiment: Path, tmp_path: Path) -> None:
    arguments = ["run", experiment, "--seeds", 1, "--out", tmp_path / "runs"]
    assert aakit(*arguments).code == 0
    assert aakit(*arguments).code == 0
    (experiment.parent / "my_stage.py").write_text(STAGE.replace("zeros", "ones"))
    code, _, err = aakit(*arguments)
    assert code == 2
    assert "holds a run of another experiment: plugin my_stage.py sha256:" in err
    other = experiment.parent / "other.py"
    other.write_text(STAGE)
    code, _, err = aakit(*arguments, "--set", f'plugins=["{other}"]')
    assert code == 2
    assert "holds a run of another experiment: plugins (" in err


def test_its_components_are_listed_and_shown_with_the_experiment(aakit: Command, experiment: Path) -> None:
    assert "shift" not in aakit("list-plugins").out
    listed = json.loads(aakit("list-plugins", "--json", "--experiment", experiment).out)["components"]
    (stage,) = [component for component in listed if component["name"] == "shift"]
    assert (stage["kind"], stage["package"]) == ("attention-stage", "my_stage.py")
    assert "Adds a learnt vector" in aakit("show", "shift", "--experiment", experiment).out
    assert aakit("show", "shift").code == 2
