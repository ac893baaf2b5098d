"""Running a study: what is finished stays, what was left half done goes on, the rest runs."""

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic

import torch

from ..cluster.task import Ended, Place, Task
from ..contracts.errors import UserError, UserErrors
from ..files.lock import InUseError, in_use, locked
from ..files.system import forget_peak_memory
from ..files.whole_file import write_whole
from ..plugin_host.registry import Registry
from ..record.run_folder import RunFolder, claimed, is_finished
from ..run.assemble import assemble
from ..run.fit_memory import fit_memory
from ..run.loop import Progress, execute, rescore
from ..run.resume import lacks_report
from ..run.stop import Stopped, StopRequest
from .ablation_plan import AblationRun, Study, placed
from .finished_runs import ORDER, read_run, warnings_of
from .series import State, open_run, state_of, take_up_if_begun
from .shared_work import share


@dataclass(frozen=True)
class Ablation:
    """A study and the folder of its runs. `say` gets lines for each run that ends.

    `words` are those of the command that makes this study, after `aakit` and without OUT: what does a run elsewhere
    needs them. `stop` ends the run at work with its state saved, and what follows it.
    """

    study: Study
    out: Path
    registry: Registry
    say: Callable[[str], None]
    words: tuple[str, ...] = ()
    stop: StopRequest = field(default_factory=StopRequest)

    def states(self) -> dict[AblationRun, State]:
        """Say what OUT holds of each run; one that scores others' weights is finished once those are.

        Raises `UserErrors` where a folder belongs to another experiment.
        """
        states, faults = dict[AblationRun, State](), list[UserError]()
        for run in self.study.runs:
            try:
                states[run] = state_of(self.out / run.place, run.experiment, self.registry)
            except UserError as error:
                if in_use(self.out / run.place):  # its files are being made anew
                    states[run] = "unfinished"
                else:
                    faults += error.faults
        if faults:
            raise UserErrors(faults)
        finished = {run.place for run, state in states.items() if state == "finished"}
        for run, state in states.items():
            if state == "finished" and run.rescores not in {None, *finished}:
                states[run] = "unfinished"
        return states

    def check(self, states: Mapping[AblationRun, State]) -> None:
        """Assemble one run of each variant that is not finished, as `aakit run --dry-run` does.

        Raises `UserErrors` with the faults of all.
        """
        first, faults = dict[tuple[str, str], AblationRun](), list[UserError]()
        for run, state in states.items():
            if state != "finished":
                first.setdefault((run.data, run.variant), run)
        for run in first.values():
            try:
                assemble(run.experiment)
            except Exception as error:
                faults += [_fault(run, one) for one in (error.faults if isinstance(error, UserError) else (error,))]
            gc.collect()
        if faults:
            raise UserErrors(faults)

    def execute(self, place: Place | None, progress: Progress) -> list[UserError]:
        """Run what is not finished; returns the faults of runs that failed, the others having gone on.

        They run in `place`; without one in this process, one at a time. Runs that score others' weights again follow
        those that train. A run that another process works on is left to it: several ablations may share OUT. Raises
        `Stopped` where `stop` asks for it, and `UserError` where the place fails.
        """
        self._write_order()
        self._forget_stale()
        faults = list[UserError]()

        def attempt(runs: Sequence[AblationRun]) -> set[AblationRun]:
            passed, began, ended = set[AblationRun](), monotonic(), 0
            for part in ([run for run in runs if run.rescores is None], [run for run in runs if run.rescores]):
                ends = self._in_turn(part, progress) if place is None else self._apart(part, place)
                for run, fault in ends:
                    ended += 1
                    self._say_left(ended, len(runs), monotonic() - began)
                    if isinstance(fault, InUseError):
                        passed.add(run)
                    elif fault is not None:
                        faults.append(fault)
            return passed

        share(self._todo, attempt, self._is_busy)
        return faults

    def left_to_others(self) -> list[AblationRun]:
        """Return the runs that are not finished and that other processes are at work on."""
        return [run for run in self._todo() if self._is_busy(run)]

    def run_one(self, run: AblationRun, progress: Progress) -> None:
        """Do a run of the study alone, and say nothing. Raises what ends it, `UserError` where it is its fault."""
        try:
            self._run_here(run, progress)
        except (Stopped, InUseError):
            raise
        except Exception as error:
            raise _fault(run, error) from error

    def _todo(self) -> list[AblationRun]:
        states = self.states()
        return [run for run, state in states.items() if state != "finished" or lacks_report(self.out / run.place)]

    def _is_busy(self, run: AblationRun) -> bool:
        return in_use(self.out / run.place) or (run.rescores is not None and in_use(self.out / run.rescores))

    def _forget_stale(self) -> None:
        """Clear what was finished with weights that are trained again."""
        for run in self.study.runs:
            if run.rescores is None or is_finished(self.out / run.rescores) or not (self.out / run.place).is_dir():
                continue
            with suppress(InUseError), claimed(self.out / run.place, run.variant) as folder:
                folder.clear()

    def _in_turn(
        self, runs: Sequence[AblationRun], progress: Progress
    ) -> Iterator[tuple[AblationRun, UserError | None]]:
        for run in runs:
            self.stop.raise_if_asked()
            yield run, self._ended(run, partial(self._run_here, run, progress))
            # What a run held may, after an error, be most of the device's memory.
            gc.collect()
            torch.cuda.empty_cache()

    def _run_here(self, run: AblationRun, progress: Progress) -> bool:
        with self._opened(run) as folder:
            if folder is None:
                return True
            forget_peak_memory()
            assembled = assemble(run.experiment)
            if run.rescores is not None:
                rescore(assembled, self.out / run.rescores, folder, progress, self.stop)
                return True
            assembled = fit_memory(assembled)
            snapshot, lines = take_up_if_begun(folder, assembled)
            for line in lines:
                self.say(f"{run.place}: {line}")
            execute(assembled, folder, progress, snapshot, self.stop)
        return True

    def _opened(self, run: AblationRun) -> AbstractContextManager[RunFolder | None]:
        if run.rescores is not None and (source := self.out / run.rescores).is_dir() and not is_finished(source):
            with locked(source):  # it may be on its way elsewhere
                pass
        return open_run(self.out / run.place, run.experiment, self.registry, anew=run.rescores is not None)

    def _apart(self, runs: Sequence[AblationRun], place: Place) -> Iterator[tuple[AblationRun, UserError | None]]:
        """Run each as a command of its own. What is finished or at work when its turn comes is not started."""
        named, kept = {str(run.place): run for run in runs}, list[tuple[AblationRun, UserError | None]]()

        def tasks() -> Iterator[Task]:
            for name, run in named.items():
                fault = self._ended(run, partial(self._is_done, run))
                if fault is not None or is_finished(self.out / run.place):
                    kept.append((run, fault))
                    continue
                words = (*self.words[:1], "--out", str(self.out), "--one", name, *self.words[1:])
                yield Task(name, words, shared=self.out.absolute())

        for task, ended in place.outcomes(tasks()):
            run = named[task.name]
            yield run, self._ended(run, partial(_check, run, ended))
        yield from kept

    def _is_done(self, run: AblationRun) -> bool:
        with self._opened(run) as folder:
            return folder is None

    def _ended(self, run: AblationRun, work: Callable[[], bool]) -> UserError | None:
        """Wait for work on a run, which says whether it is finished now; the fault that ended it, if there is one."""
        try:
            if work():
                self._report(run)
        except Stopped:
            raise
        except InUseError as error:
            self.say(f"{run.place}: not done here: another process is at work in {error.where}")
            return error
        except Exception as error:
            fault = _fault(run, error)
            self.say(f"{run.place}: failed, {fault.problem}")
            return fault
        return None

    def _say_left(self, ended: int, count: int, seconds: float) -> None:
        """Say how many runs have ended, and how long the others take where they take as long as these."""
        if left := count - ended:
            self.say(f"{ended} of {count} runs ended, about {max(1, round(seconds * left / ended / 60))} min left")

    def _report(self, run: AblationRun) -> None:
        mean = read_run(self.out / run.place).result()["mean"]
        values = {name: mean[name] for name in ("pixel_auroc", "image_auroc") if mean[name] is not None}
        figures = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        for line in (figures, *warnings_of(self.out / run.place)):
            self.say(f"{run.place}: {line}")

    def _write_order(self) -> None:
        """The order of the file, which a reader of the folders would not know."""
        for data in self.study.data:
            folder = self.out / data
            folder.mkdir(parents=True, exist_ok=True)
            order = {"baseline": self.study.baseline, "variants": list(self.study.file.variants)}
            write_whole(folder / ORDER, json.dumps(order, indent=2) + "\n")


def command_of(run: AblationRun) -> str:
    """The command line of a run that trains, without its folder."""
    return " ".join(["aakit run", str(run.file), *(f"--set '{one}'" for one in run.overrides)])


def _check(run: AblationRun, ended: Ended) -> bool:
    """Raise `UserError`, `InUseError` among them, with what another process told of a run that it has not finished."""
    if (fault := ended.fault(str(run.place), f"see {command_of(run)}")) is not None:
        raise fault
    return True


def _fault(run: AblationRun, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error if error.where == str(run.place) else placed(error, str(run.place))
    fix = f"see {command_of(run)}" if run.rescores is None else "start the ablation again: what is finished is kept"
    return UserError(f"{type(error).__name__}: {error}", where=str(run.place), fix=fix)
