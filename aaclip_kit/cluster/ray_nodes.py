"""Tasks in a Ray cluster that is there: one that dies with its node is started on another, and goes on."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ..contracts.errors import UserError
from .node import OnNode
from .resources import Resources
from .task import Ended, Task

MOST_DEATHS: Final = 20
"""How many nodes may die under one task."""

_REACHED: Final = 5.0
"""Seconds within which the cluster answers."""

_FIX: Final = "start one with `ray start --head`, or name one: --resources address=HOST:6379, or RAY_ADDRESS"


@dataclass(frozen=True)
class RayNodes:
    """Tasks on the nodes of a Ray cluster, as many at once as these have room for, or `jobs` of them."""

    resources: Resources
    jobs: int | None
    say: Callable[[str], None]

    def check(self) -> None:
        """Raise `UserError` where Ray or a cluster is not there, or it does not know what is asked for."""
        with self._joined():
            pass

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Ended]]:
        """Run the tasks. Those at work end with this process, their state saved. Raises `UserError`."""
        with self._joined() as ray:
            needs = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus}
            run = ray.remote(max_retries=MOST_DEATHS, **needs)(_run)
            waiting, running = list(tasks), dict[Any, Task]()
            self._say_if_nowhere(ray)
            while waiting or running:
                while waiting and len(running) < (self.jobs or len(waiting) + len(running)):
                    task = waiting.pop(0)
                    running[run.options(name=task.name).remote(OnNode(task, self.resources))] = task
                for done in ray.wait(list(running))[0]:
                    yield running.pop(done), _end_of(ray, done)

    def _say_if_nowhere(self, ray: Any) -> None:
        for node in ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            if has.get("CPU", 0) >= self.resources.cpus and has.get("GPU", 0) >= self.resources.gpus:
                return
        self.say(f"waiting: no node has cpus={self.resources.cpus},gpus={self.resources.gpus}")

    @contextmanager
    def _joined(self) -> Iterator[Any]:
        """Ray, connected to the cluster until the block ends. Raises `UserError`."""
        self.resources.only("address")
        ray, address = _ray(), self.resources.more.get("address") or os.environ.get("RAY_ADDRESS") or "auto"
        _check_answers(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", namespace="aakit")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _not_reached(address, str(error)) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _run(work: OnNode) -> Ended:
    return work()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        fix = "python -m pip install 'aaclip-kit[ray]'"
        raise UserError("needs the package ray", where="--on ray", fix=fix) from error
    return ray


def _check_answers(address: str) -> None:
    """Raise `UserError` where nobody listens at the address, which Ray would wait for."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and port.isdecimal()):
        fix = "start the command on a machine of the cluster, and name its head: --resources address=HOST:6379"
        raise UserError(f"'{address}' is no HOST:PORT", where="--on ray", fix=fix)
    try:
        socket.create_connection((host, int(port)), timeout=_REACHED).close()
    except (OSError, OverflowError) as error:
        raise _not_reached(address, str(error)) from error


def _not_reached(address: str, said: str) -> UserError:
    where = "" if address == "auto" else f" at {address}"
    return UserError(
        f"no Ray cluster is reached{where} ({said.strip().partition(chr(10))[0]})", where="--on ray", fix=_FIX
    )


def _end_of(ray: Any, done: Any) -> Ended:
    """What a task returned; where Ray has lost it for good, what Ray says of that."""
    try:
        ended: Ended = ray.get(done)
        return ended
    except ray.exceptions.RayError as error:
        return Ended(1, f"Ray has lost the task ({' '.join(str(error).split())[:300]})")
