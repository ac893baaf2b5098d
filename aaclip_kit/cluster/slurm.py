"""Tasks as jobs of Slurm, through submitit; its executor of one machine stands in for a cluster."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final, Literal

from ..contracts.errors import UserError
from .node import OnNode
from .resources import WHERE, Resources, whole_number
from .task import Ended, Task

MINUTES: Final = 240
"""Time of a job unless it is given; a run that needs more is queued again before it is over, and goes on."""

_TIMEOUTS: Final = 1000
"""How often that happens to a job."""

_PAUSE: Final = 0.5
"""Seconds between two looks at the jobs: at files; Slurm itself is asked less often."""


@dataclass(frozen=True)
class Jobs:
    """Tasks as submitit's jobs under `slurm`, or as `local` processes; `jobs` of them at once, where it is given."""

    cluster: Literal["slurm", "local"]
    resources: Resources
    jobs: int | None
    say: Callable[[str], None]

    def check(self) -> None:
        """Raise `UserError` where submitit or Slurm is not there, or it does not know what is asked for."""
        with tempfile.TemporaryDirectory() as folder:
            self._executor(Path(folder))

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Ended]]:
        """Submit all tasks and say where their logs are. They go on where this process ends.

        Logs of tasks that ended well are removed. Raises `UserError` where Slurm refuses them.
        """
        left = list(tasks)
        if not left:
            return
        folder = Path(tempfile.mkdtemp(prefix=f".{self.cluster}-", dir=left[0].shared)).absolute()
        executor, running, good = self._executor(folder), dict[Any, Task](), True
        while left or running:
            # An array is held back by Slurm itself.
            room = len(left) if self.cluster == "slurm" else (self.jobs or 1) - len(running)
            if batch := left[:room]:
                left = left[room:]
                running.update(zip(self._submitted(executor, batch, folder), batch, strict=True))
            for job in [job for job in running if job.done()]:
                ended = _end_of(job)
                good = good and ended.code == 0
                yield running.pop(job), ended
            time.sleep(_PAUSE if running else 0)
        if good:
            shutil.rmtree(folder, ignore_errors=True)

    def _submitted(self, executor: Any, tasks: Sequence[Task], folder: Path) -> list[Any]:
        os.environ.setdefault("PYTHONSAFEPATH", "1")  # submitit's own processes import nothing of where they start
        try:
            with executor.batch():
                jobs = [executor.submit(OnNode(task, self.resources)) for task in tasks]
        except Exception as error:  # what sbatch said is in it
            shutil.rmtree(folder, ignore_errors=True)
            said = str(error).strip().splitlines() or [type(error).__name__]
            fix = "give what your cluster asks for with --resources, such as partition=NAME,account=NAME,minutes=60"
            raise UserError(f"refuses the tasks: {said[-1]}", where="Slurm", fix=fix) from error
        if self.cluster == "slurm":
            number = str(jobs[0].job_id).partition("_")[0]
            self.say(f"{len(tasks)} tasks are queued as job {number}, with logs in {folder}")
            self.say(
                f"They go on if this command ends, and the same command then waits again; scancel {number} ends them."
            )
        return list(jobs)

    def _executor(self, folder: Path) -> Any:
        submitit, more = _submitit(self.cluster), dict(self.resources.more)
        python = f"{quote(sys.executable)} -P"
        limits = {f"{self.cluster}_max_num_timeout": _TIMEOUTS, f"{self.cluster}_python": python}
        minutes, memory = more.pop("minutes", None), more.pop("mem_gb", None)
        asked: dict[str, Any] = {
            "name": "aakit",
            "timeout_min": MINUTES if minutes is None else whole_number("minutes", minutes, 1),
            "mem_gb": None if memory is None else whole_number("mem_gb", memory, 1),
            "cpus_per_task": self.resources.cpus,
            "gpus_per_node": self.resources.gpus or None,
            "slurm_array_parallelism": self.jobs,
            **{f"slurm_{key}": value for key, value in more.items()},
        }
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster, **limits)
            executor.update_parameters(**asked)
        except RuntimeError as error:
            fix = "start the command where sbatch and srun are, or use --on ray, or --jobs"
            raise UserError("cannot be reached: there is no srun here", where="--on slurm", fix=fix) from error
        except NameError as error:
            from submitit import SlurmExecutor

            known = ["cpus", "gpus", "minutes", "mem_gb", *sorted(SlurmExecutor._valid_parameters())]
            unknown = next((key for key in more if key not in known), "")
            raise UserError(f"Slurm has no '{unknown}'", where=WHERE, fix=f"known: {', '.join(known)}") from error
        return executor


def _submitit(cluster: str) -> Any:
    try:
        import submitit
    except ImportError as error:
        fix = "python -m pip install 'aaclip-kit[slurm]'"
        raise UserError("needs the package submitit", where=f"--on {cluster}", fix=fix) from error
    return submitit


def _end_of(job: Any) -> Ended:
    """What a job returned; where it returned nothing, what submitit knows of its end."""
    try:
        ended = job.result()
        return ended if isinstance(ended, Ended) else Ended(1, f"the task returned {ended!r}")
    except Exception as error:  # killed, out of time too often, or not able to start
        return Ended(1, f"job {job.job_id} has no result ({' '.join(str(error).split())[:300]})")
