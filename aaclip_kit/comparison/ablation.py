"""Running a study: what is finished stays, what was left half done goes on, the rest runs."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ..contracts.errors import UserError, UserErrors
from ..files.lock import HOLDER, InUseError, locked
from ..files.system import forget_peak_memory
from ..files.whole_file import write_whole
from ..plugin_host.registry import Registry
from ..record.run_folder import EXPERIMENT, RunFolder, claimed, is_finished
from ..run.assemble import assemble
from ..run.fit_memory import fit_memory
from ..run.loop import Progress, execute, rescore
from ..run.resume import lacks_report
from .ablation_plan import AblationRun, Study, placed
from .finished_runs import ORDER, read_run, warnings_of
from .series import State, has_begun, open_run, state_of, take_up_if_begun


@dataclass(frozen=True)
class Ablation:
    """A study and the folder of its runs. `say` gets a line for each run that ends."""

    study: Study
    out: Path
    registry: Registry
    say: Callable[[str], None]

    def states(self) -> dict[AblationRun, State]:
        """Say what OUT holds of each run; one that scores others' weights is finished once those are.

        Raises `UserErrors` where a folder belongs to another experiment.
        """
        states, faults = dict[AblationRun, State](), list[UserError]()
        for run in self.study.runs:
            try:
                states[run] = state_of(self.out / run.place, run.experiment, self.registry)
            except UserError as error:
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
        first = {(run.data, run.variant): run for run, state in reversed(states.items()) if state != "finished"}
        faults = list[UserError]()
        for run in reversed(first.values()):
            try:
                assemble(run.experiment)
            except Exception as error:
                faults += [_fault(run, one) for one in (error.faults if isinstance(error, UserError) else (error,))]
            gc.collect()
        if faults:
            raise UserErrors(faults)

    def execute(self, jobs: int, progress: Progress) -> list[UserError]:
        """Run what is not finished; returns the faults of runs that failed, the others having gone on.

        Runs that train go first, `jobs` at a time; those that score their weights again follow, one at a time. A run
        that another process works on is left to it: several ablations may share OUT.
        """
        unfinished = {run for run, state in self.states().items() if state != "finished"}
        todo = [run for run in self.study.runs if run in unfinished or lacks_report(self.out / run.place)]
        self._write_order()
        for run in todo:
            # It may have been finished with weights that are trained again.
            if run.rescores is not None and run in unfinished and (self.out / run.place).is_dir():
                with suppress(InUseError), claimed(self.out / run.place, run.variant) as folder:
                    folder.clear()
        train = [run for run in todo if run.rescores is None]
        faults = self._in_turn(train, progress) if jobs == 1 else self._at_once(train, jobs)
        return faults + self._in_turn([run for run in todo if run.rescores is not None], progress)

    def _in_turn(self, runs: Sequence[AblationRun], progress: Progress) -> list[UserError]:
        faults = list[UserError]()
        for run in runs:
            faults += self._ended(run, partial(self._run_here, run, progress))
            # What a run held may, after an error, be most of the device's memory.
            gc.collect()
            torch.cuda.empty_cache()
        return faults

    def _run_here(self, run: AblationRun, progress: Progress) -> None:
        with self._opened(run) as folder:
            if folder is None:
                return
            forget_peak_memory()
            assembled = assemble(run.experiment)
            if run.rescores is not None:
                rescore(assembled, self.out / run.rescores, folder, progress)
                return
            assembled = fit_memory(assembled)
            snapshot, lines = take_up_if_begun(folder, assembled)
            for line in lines:
                self.say(f"{run.place}: {line}")
            execute(assembled, folder, progress, snapshot)

    def _opened(self, run: AblationRun) -> AbstractContextManager[RunFolder | None]:
        if run.rescores is not None and (source := self.out / run.rescores).is_dir() and not is_finished(source):
            with locked(source):  # it may be on its way elsewhere
                pass
        return open_run(self.out / run.place, run.experiment, self.registry, anew=run.rescores is not None)

    def _at_once(self, runs: Sequence[AblationRun], jobs: int) -> list[UserError]:
        """Run each in a process of its own with its share of the threads."""
        environment, faults = {**os.environ, **_threads(jobs)}, list[UserError]()
        pool = ThreadPoolExecutor(jobs)
        try:
            running = {pool.submit(self._run_apart, run, environment): run for run in runs}
            for done in as_completed(running):
                faults += self._ended(running[done], done.result)
        finally:
            pool.shutdown(cancel_futures=True)
        return faults

    def _run_apart(self, run: AblationRun, environment: dict[str, str]) -> None:
        """Run in another process, which takes the folder itself."""
        with self._opened(run) as folder:
            if folder is None:
                return
            begun, place = has_begun(folder.path), str(folder.path)
        # -P: nothing that lies in the working directory is imported.
        command = [sys.executable, "-P", "-m", "aaclip_kit", "run"]
        if begun:
            command += ["--resume", place, "--experiment", str(folder.path / EXPERIMENT)]
        else:
            command += [str(run.file), "--out", place]
            command += [part for override in run.overrides for part in ("--set", override)]
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise _said(run, done.stderr.strip() or f"ended with code {done.returncode}", done.returncode)

    def _ended(self, run: AblationRun, work: Callable[[], None]) -> list[UserError]:
        """Wait for a run; the fault that it ended with, if there is one."""
        try:
            work()
            self._report(run)
        except InUseError as error:
            self.say(f"{run.place}: not done here: another process is at work in {error.where}")
        except Exception as error:
            fault = _fault(run, error)
            self.say(f"{run.place}: failed, {fault.problem}")
            return [fault]
        return []

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


def _said(run: AblationRun, text: str, code: int) -> UserError:
    """What another process told of a run before it ended with this code."""
    lines = text.splitlines()
    problem, _, fix = ("\n".join(lines).removeprefix("error: ") if code == 2 else lines[-1]).partition("\n    fix: ")
    kind = InUseError if HOLDER in problem else UserError
    return kind(problem, where=str(run.place), fix=fix or f"see {command_of(run)}")


def _threads(jobs: int) -> dict[str, str]:
    """OMP_NUM_THREADS as it is, but at most a job's share of the processor cores."""
    share = max(1, (os.cpu_count() or 1) // jobs)
    given = os.environ.get("OMP_NUM_THREADS", "")
    return {"OMP_NUM_THREADS": str(min(share, int(given)) if given.isdigit() else share)}


def _fault(run: AblationRun, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error if error.where == str(run.place) else placed(error, str(run.place))
    fix = f"see {command_of(run)}" if run.rescores is None else "start the ablation again: what is finished is kept"
    return UserError(f"{type(error).__name__}: {error}", where=str(run.place), fix=fix)
