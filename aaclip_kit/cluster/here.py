"""Tasks as processes of this machine, each with its share of the threads or a GPU of its own."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

from .task import Ended, Task, command_line


@dataclass(frozen=True)
class Here:
    """As many tasks at once as `jobs` says; with `devices`, each sees one of them alone.

    A task is asked for when a process is free for it.
    """

    jobs: int
    devices: tuple[str, ...] = ()

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Ended]]:
        """Run the tasks as `Place` says; those at work are waited for, whatever ends this."""
        waiting, free = iter(tasks), list(self.devices)
        running = dict[Future[Ended], tuple[Task, str | None]]()
        with ThreadPoolExecutor(self.jobs) as pool:
            while True:
                for task in islice(waiting, self.jobs - len(running)):
                    device = free.pop(0) if self.devices else None
                    running[pool.submit(_run, task, self._environment(task, device))] = task, device
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    task, device = running.pop(done)
                    free += [] if device is None else [device]
                    yield task, done.result()

    def _environment(self, task: Task, device: str | None) -> dict[str, str]:
        seen = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        return {**os.environ, **task.variables, **threads_of(self.jobs), **seen}


def threads_of(jobs: int) -> dict[str, str]:
    """OMP_NUM_THREADS as it is, but at most a job's share of the processor cores."""
    share = max(1, (os.cpu_count() or 1) // jobs)
    given = os.environ.get("OMP_NUM_THREADS", "")
    return {"OMP_NUM_THREADS": str(min(share, int(given)) if given.isdigit() else share)}


def _run(task: Task, environment: Mapping[str, str]) -> Ended:
    done = subprocess.run(
        [sys.executable, *command_line(task)], cwd=task.folder, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
    )  # fmt: skip
    return Ended(done.returncode, done.stderr)
