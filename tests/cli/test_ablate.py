"""`aakit ablate`: a real, tiny study from plan to comparison, killed and taken up again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import UserError
from aaclip_kit.comparison.ablation import Ablation
from aaclip_kit.data.loader import Batch, TrainBatches

from ..command import Command
from ..comparison.made import STUDY, write_run
from .conftest import assert_plain, contents

pytestmark = pytest.mark.usefixtures("undrawn")

Seen = dict[tuple[int, ...], list[list[str]]]

SHORT = [
    word
    for key in ("scheduler.text_epochs=[1]", "scheduler.image_epochs=[1]", "scheduler.rate_factors=[1]")
    for word in ("--set", key, "--set", "evaluation.heatmaps=0")
]


@pytest.fixture
def study(small_experiment: Path) -> Path:
    path = small_experiment.with_name("study.toml")
    path.write_text(STUDY)
    return path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """The files of every batch, by seed, loop, phase and epoch; one list a training."""
    found: Seen = {}
    plain = TrainBatches.epoch

    def epoch(self: TrainBatches, number: int, *held: Any) -> Iterator[Batch]:
        batches = list(plain(self, number, *held))
        found.setdefault((*self.key, number), []).append([str(one.image) for batch in batches for one in batch.samples])
        return iter(batches)

    monkeypatch.setattr(TrainBatches, "epoch", epoch)
    yield found


def test_the_wrong_kind_of_file_is_one_message(
    aakit: Command, place: Path, study: Path, small_experiment: Path
) -> None:
    for command, file, said in (
        ("ablate", small_experiment, "is an experiment file"),
        ("run", study, "is an ablation file"),
    ):
        ran = aakit(command, file)
        assert_plain(ran)
        assert said in ran.err


def test_a_study_from_plan_to_comparison(aakit: Command, place: Path, study: Path, seen: Seen) -> None:
    arguments = ("ablate", study, "--out", "out", *SHORT)
    dry = aakit(*arguments, "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert "attending: trains small.toml, seeds 3 to 4: 2 to run" in dry.out
    assert "unattended: scores attending again, seeds 3 to 4: 2 to run" in dry.out
    assert contents(place) == {}
    ran = aakit(*arguments)
    assert ran.code == 0, ran.err

    assert {key[0] for key in seen} == {3, 4}
    for files in seen.values():
        assert len(files) == 2, "base and attending train, and nothing else does"
        assert files[0] == files[1], "both see the same files in the same order"

    out = place / "out"
    trained = read(out, "attending", 3)
    assert read(out, "unattended", 3)["loops"] != trained["loops"], "the vision attention is off"
    manifest = json.loads((out / "unattended" / "seed_3" / "manifest.json").read_text())
    assert Path(manifest["rescored_from"]) == Path("out/attending/seed_3")
    record = json.loads((out / "comparison.json").read_text())
    assert (record["baseline"], list(record["differences"])) == ("base", ["attending", "unattended"])
    found = record["differences"]["attending"]["pixel_auroc"]
    means = {name: [read(out, name, seed)["loops"][-1]["mean"]["pixel_auroc"] for seed in (3, 4)]
             for name in ("attending", "base")}  # fmt: skip
    assert found["mean"] == pytest.approx(sum(means["attending"]) / 2 - sum(means["base"]) / 2)
    # Killed in one run: its metrics have no quoted loop yet.
    cut = out / "attending" / "seed_4" / "metrics.json"
    whole = cut.read_bytes()
    cut.write_text(json.dumps({key: value for key, value in json.loads(whole).items() if key != "quoted"}))
    kept = contents(out)
    seen.clear()
    again = aakit(*arguments)
    assert again.code == 0, again.err
    assert "attending: trains small.toml, seeds 3 to 4: 1 finished, 1 left unfinished, goes on" in again.out
    assert {key[0] for key in seen} == {4}, "one run alone trains again"
    assert cut.read_bytes() == whole
    for path, held in contents(out).items():
        if "seed_3" in path:
            assert held == kept[path], path
    assert "unattended: scores attending again, seeds 3 to 4: 1 finished, 1 left unfinished, begins again" in again.out
    rescored = "unattended/seed_4/metrics.json"
    assert contents(out)[rescored] == kept[rescored], "the same weights, scored again"


def read(out: Path, variant: str, seed: int) -> dict[str, Any]:
    return json.loads((out / variant / f"seed_{seed}" / "metrics.json").read_text())


@pytest.mark.slow
def test_weights_scored_again_give_the_same_numbers_and_others_on_other_data(
    aakit: Command, place: Path, small_experiment: Path
) -> None:
    """A variant that changes nothing shows that weights, attending towers and quoted loop are those of the training."""
    path = small_experiment.with_name("study.toml")
    renamed = "rescore = true\nset = [\"data.test.real_names={green_wood = 'wood'}\"]\n"
    path.write_text(
        f'base = "small.toml"\nseeds = 1\n[variants.a]\n[variants.b]\nrescore = "a"\n[data.other]\n{renamed}'
    )
    ran = aakit("ablate", path, "--out", "out", "--set", "evaluation.heatmaps=0")
    assert ran.code == 0, ran.err
    a, b, other_a, other_b = (read(place / "out", name, 3) for name in ("a", "b", "other/a", "other/b"))
    assert a == b
    assert other_a == other_b
    assert other_a["before"] != a["before"], "the class has another name in its prompts"
    assert "one seed: nothing can be said" in ran.out
    assert (place / "out" / "other" / "comparison.html").is_file()


@pytest.mark.parametrize("ways", [(1,), pytest.param((1, 2), marks=pytest.mark.slow)], ids=["in turn", "at once too"])
def test_one_run_that_fails_does_not_stop_the_others_in_turn_or_at_once(
    aakit: Command, place: Path, small_experiment: Path, ways: tuple[int, ...]
) -> None:
    path = small_experiment.with_name("study.toml")
    path.write_text(
        'base = "small.toml"\nseeds = 1\n'
        '[variants.bad]\nset = ["compute.memory_gb=1e-6", "compute.recompute=auto"]\n[variants.good]\n'
    )
    for jobs in ways:
        ran = aakit("ablate", path, "--out", f"out{jobs}", "--jobs", jobs, *SHORT)
        assert_plain(ran)
        assert "bad/seed_3: compute: too little memory" in ran.err
        assert f"nothing to compare in out{jobs}: bad has no finished run" in ran.out
        manifest = json.loads((place / f"out{jobs}" / "good" / "seed_3" / "manifest.json").read_text())
        assert jobs == 1 or manifest["device"]["threads"] == _threads(jobs)
    found = [read(place / f"out{jobs}", "good", 3) for jobs in ways]
    assert all(one == found[0] for one in found)


def test_what_no_variant_could_train_is_found_before_any_run_once_a_variant(
    aakit: Command, place: Path, small_experiment: Path, seen: Seen
) -> None:
    path, whole = small_experiment.with_name("study.toml"), small_experiment.read_text()
    bare = whole[: whole.index("[stages")] + whole[whole.index("[losses") : whole.index("[scheduler")]
    bare += (
        '[prompts]\nuse = "ensemble"\nprojection = "frozen"\n[scheduler]\nuse = "single"\ntrain = "text"\nepochs = 1\n'
        + whole[whole.index("[data") :]
    )
    small_experiment.with_name("bare.toml").write_text(bare)
    path.write_text(
        'base = "small.toml"\nseeds = 2\n[variants.good]\n[variants.bad]\nset = ["model.levels=[99]"]\n'
        '[variants.text]\nfile = "bare.toml"\n'
    )
    for more in (["--dry-run"], []):
        ran = aakit("ablate", path, "--out", "out", *more)
        assert_plain(ran, messages=2)
        assert "bad/seed_3: model.levels: [99] are no levels" in ran.err
        assert "text/seed_3: scheduler: plans a phase" in ran.err and 'untrained, with use = "none"' in ran.err
        assert seen == {} and not (place / "out").exists()


def _threads(jobs: int) -> int:
    share = max(1, (os.cpu_count() or 1) // jobs)
    return min(share, int(os.environ.get("OMP_NUM_THREADS") or share))


def test_faults_of_runs_are_shown_where_the_comparison_fails_too(
    aakit: Command, place: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(self: Ablation, place: object, progress: object) -> list[UserError]:
        for seed, data in ((3, "one"), (4, "two")):
            write_run(self.out / "base" / f"seed_{seed}", seed, [{"a": {"pixel_auroc": 0.5}}], data=data)
        return [UserError("RuntimeError: broke", where="attending/seed_3", fix="see there")]

    monkeypatch.setattr(Ablation, "execute", execute)
    ran = aakit("ablate", study, "--out", "out")
    assert_plain(ran, messages=2)
    assert "attending/seed_3: RuntimeError: broke" in ran.err and "was tested on other data" in ran.err


def test_validate_takes_ablation_files_too(aakit: Command, study: Path) -> None:
    assert "study.toml: valid" in aakit("validate", study).out
    study.write_text(study.read_text().replace("scheduler.attention", "scheduler.attentio"))
    ran = aakit("validate", study)
    assert ran.code == 2 and "variants.base" in ran.err
