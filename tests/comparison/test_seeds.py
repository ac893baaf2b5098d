"""Seeds as tasks of a place, some of which others are at work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from aaclip_kit.cluster.task import Ended, Task
from aaclip_kit.comparison.seeds import Seeds
from aaclip_kit.experiment import load, resolved_toml
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import claimed

from ..conftest import EXPERIMENT
from .made import write_run


class Elsewhere:
    """A place whose runs cost nothing; seed 5 fails there."""

    def __init__(self, seeds: Seeds) -> None:
        self.seeds, self.words = seeds, list[tuple[str, ...]]()

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Ended]]:
        for task in tasks:
            self.words.append(task.words)
            seed = int(task.name.removeprefix("seed_"))
            if seed == 5:
                yield task, Ended(2, "error: model.levels: [99] are no levels\n    fix: name others")
                continue
            folder = write_run(self.seeds.out / task.name, seed, [{"a": {"pixel_auroc": 0.5}}])
            (folder / "experiment.toml").write_text(resolved_toml(self.seeds.experiments[seed]))
            (folder / "report.html").touch()
            yield task, Ended(0, "")


@pytest.fixture
def seeds(tmp_path: Path) -> Seeds:
    file, registry = tmp_path / "small.toml", discover()
    file.write_text(EXPERIMENT.format(model="ViT-B-32", data="nowhere"))
    experiments = {seed: load(file, registry, [f"seed={seed}"]) for seed in (3, 4, 5)}
    return Seeds(file, ("workers=0",), tmp_path / "out", experiments, registry, lambda _: None)


def test_each_seed_is_a_task_and_what_others_work_on_is_left_to_them(seeds: Seeds) -> None:
    place = Elsewhere(seeds)
    with claimed(seeds.out / "seed_4", "seed_4"):
        left, faults = seeds.execute(place, lambda seed: None)
    assert left == [4]
    (fault,) = faults
    assert (fault.where, fault.problem, fault.fix) == ("seed_5", "model.levels: [99] are no levels", "name others")
    assert len(place.words) == 2
    chosen = ("--set", "workers=0", "--set", "seed=3")
    assert place.words[0] == ("run", str(seeds.file), "--seeds", "1", "--out", str(seeds.out), *chosen)
    left, _ = seeds.execute(place, lambda seed: None)
    assert left == [] and [words[-1] for words in place.words[2:]] == ["seed=4", "seed=5"]
