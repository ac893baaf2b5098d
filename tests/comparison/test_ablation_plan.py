"""Ablation files: what they plan, and what is wrong with them, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aaclip_kit_plugins.synthetic import TRAIN_SURFACES
from aaclip_kit_plugins.synthetic.photographs import materials_of

from aaclip_kit import UserError, UserErrors
from aaclip_kit.comparison.ablation_plan import Study, load_study
from aaclip_kit.comparison.series import differences_from_folder, state_of, training_differences
from aaclip_kit.experiment import Experiment, load, resolved_toml
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.training.loop_plans import build_scheduler, plan_ahead

from ..conftest import EXPERIMENT, SHARED

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
REGISTRY = discover()
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A study of a small experiment that is only checked, so that its data may lie nowhere."""
    (tmp_path / "small.toml").write_text(EXPERIMENT.format(model="ViT-B-32", data="nowhere"))

    def written(text: str, head: str = 'base = "small.toml"\nseeds = 2\n') -> Path:
        path = tmp_path / "study.toml"
        path.write_text(head + text)
        return path

    return written


def loaded(path: Path, **options: object) -> Study:
    return load_study(path, REGISTRY, **options)  # type: ignore[arg-type]


def places(study: Study) -> list[str]:
    return [run.place.as_posix() for run in study.runs]


TWO = '[variants.plain]\n[variants.strong]\nset = ["stages.text_to_image.scale=1.0"]\n'


def test_every_variant_is_planned_with_the_same_seeds(write: Write) -> None:
    study = loaded(write(TWO))
    assert places(study) == ["plain/seed_3", "plain/seed_4", "strong/seed_3", "strong/seed_4"]
    assert (study.baseline, study.left_out) == ("plain", ())
    assert [run.experiment.file.seed for run in study.runs] == [3, 4, 3, 4]
    scales = [run.experiment.stages["text_to_image"].options.model_dump()["scale"] for run in study.runs]
    assert scales == [0.1, 0.1, 1.0, 1.0]
    assert places(loaded(write(TWO), seeds=1, only=("strong",))) == ["strong/seed_3"]
    assert loaded(write(TWO), overrides=("seed=9",)).runs[0].place == Path("plain/seed_9")


def test_what_the_study_sets_is_set_in_every_run_unless_a_variant_says_otherwise(write: Write) -> None:
    head = 'base = "small.toml"\nseeds = 1\nset = ["seed=9", "stages.text_to_image.scale=0.5"]\n'
    study = loaded(write(TWO, head=head))
    assert places(study) == ["plain/seed_9", "strong/seed_9"]
    scales = [run.experiment.stages["text_to_image"].options.model_dump()["scale"] for run in study.runs]
    assert scales == [0.5, 1.0]


def test_a_file_with_another_seed_runs_with_those_of_the_base(write: Write, tmp_path: Path) -> None:
    text = (tmp_path / "small.toml").read_text().replace("seed = 3", "seed = 8")
    (tmp_path / "other.toml").write_text(text)
    study = loaded(write('[variants.a]\nfile = "other.toml"\n'))
    assert [run.experiment.file.seed for run in study.runs] == [3, 4]


def test_what_scores_again_comes_last_and_brings_what_it_scores(write: Write) -> None:
    text = TWO + '[variants.half]\nset = ["switches.evaluation_attention=false"]\nrescore = "strong"\n'
    text = text.replace('["switches.', '["stages.text_to_image.scale=1.0", "switches.')
    study = loaded(write(text), seeds=1, only=("half",))
    assert places(study) == ["strong/seed_3", "half/seed_3"]
    assert [run.rescores for run in study.runs] == [None, Path("strong/seed_3")]


def test_other_data_repeats_every_variant(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = '[data.real]\nroot = "real"\nroot_variable = "AAKIT_TEST_ROOT"\noptional = true\n'
    data += 'set = ["data.test.root={root}"]\n'
    study = loaded(write(TWO + data), seeds=1)
    assert places(study) == ["plain/seed_3", "strong/seed_3"]
    assert "real (there is no folder" in study.left_out[0]
    (tmp_path / "real").mkdir()
    study = loaded(write(TWO + data), seeds=1)
    assert places(study) == ["plain/seed_3", "strong/seed_3", "real/plain/seed_3", "real/strong/seed_3"]
    assert study.runs[2].experiment.data["test"][0].options.model_dump()["root"] == tmp_path / "real"
    (tmp_path / "named").mkdir()
    monkeypatch.setenv("AAKIT_TEST_ROOT", str(tmp_path / "named"))
    assert loaded(write(TWO + data)).runs[-1].experiment.data["test"][0].options.model_dump()["root"].name == "named"
    text = TWO + data + "[data.more]\nset = []\n"
    assert loaded(write(text)).data == ("", "real", "more")
    assert loaded(write(text), only_data=("more",)).data == ("", "more")
    with pytest.raises(UserError, match="there is no data called 'rea'"):
        loaded(write(text), only_data=("rea",))
    again = loaded(write(TWO + data + "rescore = true\n"), seeds=1)
    assert [run.rescores for run in again.runs] == [None, None, Path("plain/seed_3"), Path("strong/seed_3")]


def test_a_root_that_looks_like_a_number_is_a_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "2024").mkdir()
    monkeypatch.chdir(tmp_path)
    write(TWO + '[data.real]\nroot = "2024"\nset = ["data.test.root={root}", "data.train.root={root}/a"]\n')
    found = loaded(Path("study.toml"), only_data=("real",)).runs[-1].experiment.data
    roots = [found[role][0].options.model_dump()["root"] for role in ("test", "train")]
    assert roots == [Path("2024"), Path("2024/a")]


def test_a_base_that_is_whole_only_with_the_overrides_is_planned(write: Write, tmp_path: Path) -> None:
    path, small = write(TWO), tmp_path / "small.toml"
    small.write_text(small.read_text().replace('root = "nowhere"', ""))
    with pytest.raises(UserErrors, match="root: is missing"):
        loaded(path)
    assert len(loaded(path, overrides=("data.train.root=x", "data.test.root=x")).runs) == 4


FAULTS = [
    ("", "variants: is missing"),
    ("[variants]\n", "needs at least 1"),
    ('[variants."a/b"]\n', "may hold letters, digits"),
    ("[variants.a]\nsets = []\n", "variants.a.sets: unknown key"),
    ('[variants.a]\nset = ["nothing"]\n', "study.toml: variants.a: --set: 'nothing' is not of the form"),
    ('[variants.a]\nset = ["stages.text_to_image.scal=1"]\n', "variants.a: .*small.toml: stages.text_to_image.scal"),
    ('[variants.a]\nfile = "none.toml"\n', "variants.a: .*none.toml: there is no such file"),
    ('[variants.a]\nset = ["seed=4"]\n', "variants.a.set: sets the seed, which is the same for every variant"),
    ('[variants.a]\nrescore = "b"\n', "variants.a.rescore: there is no variant called 'b'"),
    ('[variants.a]\n[variants.b]\nrescore="a"\n[variants.c]\nrescore="b"\n', "'b' trains nothing itself"),
    (
        '[variants.a]\n[variants.b]\nrescore="a"\nset=["switches.dropout=false"]\n',
        "but switches.dropout acts in training",
    ),
    ("[variants.a]\n[data.a]\nset=[]\n", "is the name of a variant and of data"),
    ('[variants.a]\n[data.d]\nset=["data.test.root={root}"]\n', "data.d: has no root"),
    ('[variants.a]\n[data.d]\nset=[]\nroot="none"\n', "data.d: there is no folder"),
    (
        '[variants.a]\n[data.d]\nset=["data.train.classes=[\\"x\\"]"]\nrescore=true\n',
        "data.d: rescores a, but data.train.classes",
    ),
]


def test_unequal_numbers_of_epochs_are_told(write: Write) -> None:
    assert loaded(write(TWO)).notes == ()
    base = 'file = "BASE"\n'.replace("BASE", str(EXPERIMENTS / "base.toml"))
    longer = f'[variants.once]\n{base}[variants.twice]\n{base}set = ["scheduler.image_epochs=2"]\n'
    assert loaded(write(longer)).notes == (
        "the variants train for different numbers of epochs (text 1, vision 1: once; text 1, vision 2: twice)",
    )


@pytest.mark.parametrize(("text", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_faults_name_file_table_and_fix(write: Write, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        loaded(write(text))
    faults = caught.value.faults if isinstance(caught.value, UserErrors) else (caught.value,)
    assert len(faults) == 1
    assert "study.toml" in str(faults[0].where) and faults[0].fix


def test_all_variants_are_checked_and_all_faults_shown(write: Write) -> None:
    with pytest.raises(UserErrors) as caught:
        loaded(write('[variants.a]\nset=["seeds=1"]\n[variants.b]\nset=["model.level=[1]"]\n'))
    assert [str(fault.where).split(": ")[1] for fault in caught.value.faults] == ["variants.a", "variants.b"]
    with pytest.raises(UserError, match="no variant called 'plane'") as unknown:
        loaded(write(TWO), only=("plane",))
    assert "did you mean 'plain'" in str(unknown.value)
    with pytest.raises(UserError, match="baseline: there is no variant called 'x'"):
        loaded(write(TWO, head='base = "small.toml"\nbaseline = "x"\n'))


def test_the_shipped_studies_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ablation = loaded(EXPERIMENTS / "ablation.toml", seeds=1)
    assert list(dict.fromkeys(run.variant for run in ablation.runs)) == [
        "base", "cross_attention", "feedback", "feedback_v2", "scale_1",
    ]  # fmt: skip
    switches = loaded(EXPERIMENTS / "switches.toml", seeds=1)
    trained = [run for run in switches.runs if run.rescores is None]
    assert trained[0].variant == switches.baseline == "corrected"
    monkeypatch.setenv("AAKIT_REALDATA", str(tmp_path))
    everything = loaded(EXPERIMENTS / "ablation.toml", seeds=1)
    assert set(everything.data) == {"", "drawings_to_photographs"}
    assert all(run.rescores for run in everything.runs if run.data == "drawings_to_photographs")


def epochs(experiment: Experiment) -> int:
    """Passes over the training images, of any phase and loop."""
    return sum(phase.epochs for plan in plan_ahead(build_scheduler(experiment)) for phase in plan.phases)


@pytest.mark.parametrize(
    ("study", "variants"), [("family.toml", 9), ("ablation.toml", 5), ("switches.toml", 10)], ids=lambda it: str(it)
)
def test_every_variant_that_trains_sees_as_many_of_the_same_images(study: str, variants: int) -> None:
    runs = loaded(EXPERIMENTS / study, only_data=()).runs
    own = {run.variant: run.experiment for run in runs if not run.data and run.seed == 111}
    assert len([run for run in runs if not run.data]) == 5 * len(own) == 5 * variants
    tables = [
        {role: [one.options.model_dump() for one in sets] for role, sets in experiment.data.items()}
        for experiment in own.values()
    ]
    assert all(one == tables[0] for one in tables), "one data set of each role for all"
    drawn, blended = (one["images_per_class"] for one in tables[0]["train"])
    images = drawn * len(TRAIN_SURFACES) + blended * len(materials_of("train"))
    seen = {variant: epochs(experiment) * images for variant, experiment in own.items()}
    assert seen == {variant: 0 if variant == "win_clip" else 672 for variant in own}
    plans = [plan for one in own.values() for plan in plan_ahead(build_scheduler(one))]
    batches = {phase.batch_size for plan in plans for phase in plan.phases}
    assert batches == {8}, "as many steps, too"


def test_each_variant_of_the_switches_changes_its_own_switch_only() -> None:
    runs = {run.variant: run.experiment.switches for run in loaded(EXPERIMENTS / "switches.toml", seeds=1).runs}
    corrected = runs.pop("corrected").model_dump()
    published = runs.pop("published").model_dump()
    for name, switches in runs.items():
        changed = {key: value for key, value in switches.model_dump().items() if value != corrected[key]}
        assert changed == {name: published[name]}
    without_effect = {"surgery_attention", "checkpoint_mismatch", "checkpoint_format", "one_label_auroc"}
    assert runs.keys() == corrected.keys() - without_effect, "every switch that acts on these results is asked about"


@pytest.mark.skipif(not (SHARED / "realdata").is_dir(), reason="needs shared/realdata")
def test_real_data_are_found_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAKIT_REALDATA", str(SHARED / "realdata"))
    assert "drawings_to_photographs" in loaded(EXPERIMENTS / "ablation.toml", seeds=1).data


def test_a_run_folder_of_the_same_experiment_is_told_from_others(write: Write, tmp_path: Path) -> None:
    write(TWO)
    experiment = load(tmp_path / "small.toml", REGISTRY)
    folder = tmp_path / "out"
    assert state_of(folder, experiment, REGISTRY) == "free"
    folder.mkdir()
    assert state_of(folder, experiment, REGISTRY) == "free"
    (folder / "events.jsonl").touch()
    assert state_of(folder, experiment, REGISTRY) == "unfinished"
    resolved = folder / "experiment.toml"
    # A run writes the levels that it came to, and an older one may lack keys that have since been added.
    text = resolved_toml(experiment).replace("[model]", "[model]\nlevels = [2, 4, 6, 8]")
    resolved.write_text(text.replace("heatmaps = 16\n", ""))
    assert state_of(folder, experiment, REGISTRY) == "unfinished"
    (folder / "metrics.json").write_text('{"loops": []}')
    assert state_of(folder, experiment, REGISTRY) == "unfinished"
    (folder / "metrics.json").write_text('{"quoted": {}}')
    (folder / "manifest.json").write_text('{"finished": null}')
    assert state_of(folder, experiment, REGISTRY) == "unfinished"
    (folder / "manifest.json").write_text('{"finished": "2026-01-01T00:00:00+00:00"}')
    assert state_of(folder, experiment, REGISTRY) == "finished"
    other = load(tmp_path / "small.toml", REGISTRY, ["seed=4", "model.levels=[1, 2]"])
    with pytest.raises(UserError, match=r"another experiment: seed \(3 there, 4 here\), model.levels"):
        state_of(folder, other, REGISTRY)
    assert differences_from_folder(resolved, experiment, REGISTRY) == []
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    with pytest.raises(UserError, match="is not empty"):
        state_of(tmp_path / "notes", experiment, REGISTRY)


def test_training_differs_by_what_it_sees_alone(write: Write, tmp_path: Path) -> None:
    write(TWO)
    first = load(tmp_path / "small.toml", REGISTRY)
    silent = ["name=x", "workers=2", "evaluation.blur=false", "data.test.root=x", "switches.reported_loop=best_on_test",
              "calibration.rule=fpr", "calibration.fpr=0.1", "cache.features=off"]  # fmt: skip
    assert training_differences(first, load(tmp_path / "small.toml", REGISTRY, silent)) == []
    loud = ["seed=4", "data.train.root=x", "switches.dropout=false", "scheduler.text_batch=2",
            "calibration.held_out=0.2", "data.calibration.use=folder", "data.calibration.root=x"]  # fmt: skip
    changed = training_differences(first, load(tmp_path / "small.toml", REGISTRY, loud))
    held_out = {key for key in changed if "calibration" in key}
    assert held_out >= {"calibration.held_out", "data.calibration.use"}, "they decide what is kept out of training"
    assert sorted({*changed} - held_out) == ["data.train.root", "scheduler.text_batch", "seed", "switches.dropout"]
