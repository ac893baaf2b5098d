"""Running a study: what is finished stays, what was left half done goes on, the rest runs."""

import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from ..contracts.errors import UserError, UserErrors, writing
from ..files.lock import locked
from ..files.whole_file import write_whole
from ..plugin_host.registry import Registry
from ..record.run_folder import RunFolder
from ..run.assemble import assemble
from ..run.fit_memory import fit_memory
from ..run.loop import Progress, execute, rescore
from .ablation_plan import AblationRun, Study, placed
from .finished_runs import ORDER, read_run, warnings_of
from .series import State, has_begun, open_run, state_of


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

    def execute(self, jobs: int, progress: Progress) -> list[UserError]:
        """Run what is not finished; returns the faults of runs that failed, the others having gone on.

        Runs that train go first, `jobs` at a time; those that score their weights again follow, one at a time.
        """
        with writing(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        # While one ablation holds OUT, unfinished runs in it belong to nobody. Runs in processes of their own inherit
        # the lock, so that it holds until the last of them ends.
        with locked(self.out, ".lock", "another ablation is running in this folder") as claim:
            todo = [run for run, state in self.states().items() if state != "finished"]
            self._write_order()
            for run in todo:
                if run.rescores is not None or not has_begun(self.out / run.place):
                    shutil.rmtree(self.out / run.place, ignore_errors=True)
            train = [run for run in todo if run.rescores is None]
            faults = self._in_turn(train, progress) if jobs == 1 else self._at_once(train, jobs, claim)
            return faults + self._in_turn([run for run in todo if run.rescores is not None], progress)

    def _in_turn(self, runs: Sequence[AblationRun], progress: Progress) -> list[UserError]:
        faults = list[UserError]()
        for run in runs:
            try:
                self._run_here(run, progress)
                self._report(run)
            except Exception as error:
                faults.append(fault := _fault(run, error))
                self.say(f"{run.place}: failed, {fault.problem}")
            # What a run held may, after an error, be most of the device's memory.
            gc.collect()
            torch.cuda.empty_cache()
        return faults

    def _run_here(self, run: AblationRun, progress: Progress) -> None:
        assembled = assemble(run.experiment)
        if run.rescores is None:
            assembled = fit_memory(assembled)
            folder, snapshot, lines = open_run(self.out / run.place, assembled)
            for line in lines:
                self.say(f"{run.place}: {line}")
            execute(assembled, folder, progress, snapshot)
        else:
            rescore(assembled, self.out / run.rescores, RunFolder.create(self.out / run.place), progress)

    def _at_once(self, runs: Sequence[AblationRun], jobs: int, claim: int | None) -> list[UserError]:
        """Run each in a process of its own with its share of the threads."""
        environment, faults = {**os.environ, **_threads(jobs)}, []
        locks = () if claim is None else (claim,)
        pool = ThreadPoolExecutor(jobs)
        try:
            running = {pool.submit(_run_apart, run, self.out, environment, locks): run for run in runs}
            for done in as_completed(running):
                run = running[done]
                if said := done.result():
                    problem, _, fix = said.partition("\n    fix: ")
                    faults.append(UserError(problem, where=str(run.place), fix=fix or f"see {command_of(run)}"))
                    self.say(f"{run.place}: failed, {problem}")
                else:
                    self._report(run)
        finally:
            pool.shutdown(cancel_futures=True)
        return faults

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


def _run_apart(run: AblationRun, out: Path, environment: dict[str, str], locks: tuple[int, ...]) -> str:
    """Run in another process and return what went wrong; empty where nothing did."""
    folder = out / run.place
    command = [sys.executable, "-m", "aaclip_kit", "run"]
    if has_begun(folder):
        command += ["--resume", str(folder)]
    else:
        command += [str(run.file), "--out", str(folder)]
        command += [part for override in run.overrides for part in ("--set", override)]
    done = subprocess.run(
        command, env=environment, pass_fds=locks, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
    return "\n".join(lines).removeprefix("error: ") if done.returncode == 2 else lines[-1]


def _threads(jobs: int) -> dict[str, str]:
    """OMP_NUM_THREADS as it is, but at most a job's share of the processor cores."""
    share = max(1, (os.cpu_count() or 1) // jobs)
    given = os.environ.get("OMP_NUM_THREADS", "")
    return {"OMP_NUM_THREADS": str(min(share, int(given)) if given.isdigit() else share)}


def _fault(run: AblationRun, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return placed(error, str(run.place))
    fix = f"see {command_of(run)}" if run.rescores is None else "start the ablation again: what is finished is kept"
    return UserError(f"{type(error).__name__}: {error}", where=str(run.place), fix=fix)
