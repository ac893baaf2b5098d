"""Several seeds of one experiment, each a run in OUT/seed_N, some of which other processes may be at work on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cluster.task import Place, Task
from ..contracts.errors import UserError
from ..experiment import Experiment
from ..files.lock import InUseError, in_use
from ..plugin_host.registry import Registry
from ..record.run_folder import is_finished
from ..run.resume import lacks_report
from .series import open_run, seed_folder
from .shared_work import share


@dataclass(frozen=True)
class Seeds:
    """The seeds of an experiment file with their checked experiments, and the folder of their runs."""

    file: Path
    overrides: tuple[str, ...]
    out: Path
    experiments: Mapping[int, Experiment]
    registry: Registry
    say: Callable[[str], None]

    def execute(self, place: Place | None, run_here: Callable[[int], None]) -> tuple[list[int], list[UserError]]:
        """Run what is not finished, in `place` or by `run_here`, which raises what ends it.

        Returns the seeds that others are at work on, and the faults of those that have failed in `place`.
        """
        faults = list[UserError]()

        def attempt(seeds: Sequence[int]) -> set[int]:
            if place is None:
                return {seed for seed in seeds if not self._tried(seed, run_here)}
            passed = set[int]()
            for seed, fault in self._apart(seeds, place):
                if isinstance(fault, InUseError):
                    passed.add(seed)
                elif fault is not None:
                    self.say(f"seed {seed}: failed, {fault.problem}")
                    faults.append(fault)
                else:
                    self.say(f"seed {seed}: finished")
            return passed

        share(self.todo, attempt, self._is_busy)
        return [seed for seed in self.todo() if self._is_busy(seed)], faults

    def todo(self) -> list[int]:
        """Return the seeds that are not finished, or lack their report."""
        folders = {seed: seed_folder(self.out, seed) for seed in self.experiments}
        return [seed for seed, folder in folders.items() if not is_finished(folder) or lacks_report(folder)]

    def _is_busy(self, seed: int) -> bool:
        return in_use(seed_folder(self.out, seed))

    def _tried(self, seed: int, work: Callable[[int], None]) -> bool:
        """Whether nobody else was at work on the seed."""
        try:
            work(seed)
        except InUseError as error:
            self.say(f"seed {seed}: not done here: another process is at work in {error.where}")
            return False
        return True

    def _apart(self, seeds: Sequence[int], place: Place) -> Iterator[tuple[int, UserError | None]]:
        named = {f"seed_{seed}": seed for seed in seeds}
        busy = list[int]()

        def look(seed: int) -> None:
            with open_run(seed_folder(self.out, seed), self.experiments[seed], self.registry):
                pass

        def tasks() -> Iterator[Task]:
            for name, seed in named.items():
                if not self._tried(seed, look):
                    busy.append(seed)
                elif not is_finished(seed_folder(self.out, seed)):
                    chosen = [word for one in (*self.overrides, f"seed={seed}") for word in ("--set", one)]
                    words = ("run", str(self.file), "--seeds", "1", "--out", str(self.out), *chosen)
                    yield Task(name, words, shared=self.out.absolute())

        for task, ended in place.outcomes(tasks()):
            yield named[task.name], ended.fault(task.name, f"see aakit run --resume {self.out / task.name}")
        yield from ((seed, InUseError("another process is at work", where=f"seed_{seed}")) for seed in busy)
