"""A command of this program that is to run somewhere, what came of it, and a place where commands run."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from ..contracts.errors import UserError
from ..files.lock import HOLDER, InUseError

_TRAVELS: Final = "AAKIT_"
"""How variables begin that name folders of data; whoever runs a task must see what they say."""


def _own_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_TRAVELS)}


@dataclass(frozen=True)
class Task:
    """One command: `words` follow `aakit`. Run again after it has died, it goes on.

    It starts in `folder` and writes below `shared`, which must be the same folders wherever it runs.
    """

    name: str
    words: tuple[str, ...]
    shared: Path
    folder: Path = field(default_factory=Path.cwd)
    variables: Mapping[str, str] = field(default_factory=_own_variables)


@dataclass(frozen=True)
class Ended:
    """The exit code of a task's process, and what it wrote to standard error."""

    code: int
    said: str

    def fault(self, name: str, fix: str) -> UserError | None:
        """What the process of a thing called `name` told; an `InUseError` where another is at work in its folder.

        `fix` is for what tells none itself.
        """
        if self.code == 0:
            return None
        lines = self.said.strip().splitlines() or [f"ended with code {self.code}"]
        text = "\n".join(lines).removeprefix("error: ") if self.code == 2 else lines[-1]
        problem, _, own = text.removeprefix(f"{name}: ").partition("\n    fix: ")
        kind = InUseError if HOLDER in problem else UserError
        return kind(problem, where=name, fix=own or fix)


@runtime_checkable
class Place(Protocol):
    """Where tasks run, several at once."""

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Ended]]:
        """Run the tasks; each comes with its end as soon as it is over.

        Raises `UserError` where the place cannot be reached or does not give what was asked for.
        """
        ...


def command_line(task: Task) -> list[str]:
    """Return the words of a process that runs the task."""
    # -P: nothing that lies in the working directory is imported.
    return ["-P", "-m", "aaclip_kit", *task.words]
