"""What a node of a cluster does with a task: run its process, wait for a lock of one who died, stop when asked to."""

import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..files.lock import HOLDER
from .resources import Resources
from .task import Ended, Task, command_line

PATIENCE: Final = 150.0
"""Seconds to wait for a folder's lock: a file server keeps that of a node which has died for some 90."""

_PAUSE: Final = 5.0
"""Seconds between two tries."""


@dataclass
class OnNode:
    """A task as a function of no argument, which schedulers take. Its process has what `resources` say."""

    task: Task
    resources: Resources
    patience: float = PATIENCE
    _process: "subprocess.Popen[str] | None" = field(default=None, init=False, repr=False)

    def __call__(self) -> Ended:
        """Run it to its end. A folder whose lock another holds is waited for: its holder may have died on a node."""
        until = time.monotonic() + self.patience
        while True:
            for folder in (self.task.folder, self.task.shared):
                if not Path(folder).is_dir():
                    fix = "use folders that all nodes share, under the same paths"
                    return Ended(2, f"error: {platform.node()} does not see {folder}\n    fix: {fix}")
            ended = self._once()
            if ended.code != 2 or HOLDER not in ended.said or time.monotonic() > until:
                return ended
            time.sleep(_PAUSE)

    def _once(self) -> Ended:
        words = ["-P", "-m", "aaclip_kit.cluster.tied", str(os.getpid()), *command_line(self.task)]
        environment = {**os.environ, **self.task.variables, "OMP_NUM_THREADS": str(self.resources.cpus)}
        if not self.resources.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        with subprocess.Popen(
            [sys.executable, *words], cwd=self.task.folder, env=environment, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ) as self._process:  # fmt: skip
            _, said = self._process.communicate()
        code, self._process = self._process.returncode, None
        return Ended(code, said)

    def stop(self) -> None:
        """Ask the process to save its state and to end, and wait until it has.

        This may be called by a handler of signals, in the middle of what else this thread does with the process.
        """
        if self._process is not None:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._process.pid, signal.SIGTERM)
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    def checkpoint(self) -> Any:
        """Stop, and return what submitit is to start in this one's place: the same, which goes on."""
        from submitit.helpers import DelayedSubmission

        self.stop()
        return DelayedSubmission(OnNode(self.task, self.resources, self.patience))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None}
