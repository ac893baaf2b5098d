"""Options that say where a command's runs are done, and how one of them is stopped."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..run.stop import Stopped, StopRequest
from .terminal import say

JOBS_HELP = "Runs at once, each with its share of the threads; on a cluster the most at once."
DEVICES_HELP = "One run a GPU: so many of them, or those named, as 0,1,2,3."
ON_HELP = "Do the runs as tasks of a cluster: slurm or ray; local tries on this machine what slurm would do."
RESOURCES_HELP = "With --on, what a task is given: cpus=4,gpus=1, and for Slurm partition=NAME,minutes=60, ..."


@contextmanager
def stopped_in_words(stop: StopRequest) -> Iterator[None]:
    """Let a signal end the run at work with its state saved, say so, and leave with the code that shells expect."""
    try:
        with stop.listening():
            yield
    except Stopped as stopped:
        say(f"stopped by {stopped}; what is done is kept, and the same command goes on", file=sys.stderr)
        raise SystemExit(stopped.code) from None
