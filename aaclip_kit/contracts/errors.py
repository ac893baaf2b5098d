"""What a user reads of an error, and names of others as they may be shown: as letters alone."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Final

_COMMANDS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn the direction of what follows, and halves of characters."""


MISSING: Final = "–"
"""What stands in tables for a value that there is not. A hyphen before the mark of a note would be read as minus."""


def plain(text: str, longest: int | None = None) -> str:
    """The text with such characters, line ends and tabs among them, spelled out as in Python, such as \\x1b.

    What is longer than `longest` loses its middle.
    """
    text = text if longest is None else shortened(text, longest)
    return _COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


FORMULA: Final = ("=", "+", "-", "@")
"""What a program for tables takes for the beginning of something to compute."""


def table_cell(text: str) -> str:
    """The same as a cell of a table in a file: an apostrophe stands before what would be taken for a formula."""
    text = plain(text)
    return f"'{text}" if text.startswith(FORMULA) else text


def shortened(text: str, longest: int) -> str:
    """The text, without its middle where it has more than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


def in_short(items: Iterable[object], most: int = 8, between: str = ", ") -> str:
    """The first of a list's items, each on one line of 400 characters at most, and how many more there are."""
    texts = [plain(str(item), 400) for item in items]
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return between.join(texts[:most]) + more


def plain_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(map(plain, text.split("\n")))


_LONGEST: Final = 4000
"""Characters of a message's part that are shown: a faulty value may have millions."""


class UserError(Exception):
    """Something that the user can mend: the command prints it without a traceback and exits with code 2.

    `where` names the file, table or key; `fix` says what to do about it.
    """

    def __init__(self, problem: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.problem, self.where, self.fix = problem, where, fix
        super().__init__(problem)

    @property
    def faults(self) -> "tuple[UserError, ...]":
        """The single faults: itself, where it is one."""
        return (self,)

    def __str__(self) -> str:
        problem = plain(self.problem, _LONGEST)
        text = f"{plain(self.where, _LONGEST)}: {problem}" if self.where else problem
        return f"{text}\n    fix: {plain(self.fix, _LONGEST)}" if self.fix else text


class UserErrors(UserError):
    """Several faults of one input, shown together."""

    def __init__(self, faults: Iterable[UserError]) -> None:
        self._faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self._faults))

    def __str__(self) -> str:
        return self.problem

    @property
    def faults(self) -> tuple[UserError, ...]:
        """The faults, in the order in which they are shown."""
        return self._faults


def not_writable(path: Path | str | None, error: OSError, fix: str = "name another place with --out") -> UserError:
    """What to tell the user of a file or folder (None: which, is not known) that the system does not let be written."""
    where = None if path is None else str(path)
    return UserError(f"cannot be written ({error.strerror or error})", where=where, fix=fix)


@contextmanager
def writing(path: Path | str, fix: str = "name another place with --out") -> Iterator[None]:
    """Raise as `not_writable` words it what the system refuses while a file or folder is written."""
    try:
        yield
    except OSError as error:
        raise not_writable(path, error, fix) from error


def unknown(name: str, kind: str, known: Sequence[str], where: str | None = None) -> UserError:
    """What to tell the user of a name that nothing of its kind bears."""
    fix = f"{nearest_hint(name, known)}known: {', '.join(known) or 'none'}"
    verb = "are" if kind == "prompts" else "is"
    return UserError(f"there {verb} no {kind} called '{name}'", where=where, fix=fix)


def no_text_tower(
    who: str | None = None, where: str = "backbone", instead: str = "a head and stages that need no text"
) -> UserError:
    """What to tell the user of who asks a backbone without a text tower for text, and what may stand there instead."""
    problem = (
        "this backbone has no text tower" if who is None else f"{who} needs text, and the backbone has no text tower"
    )
    return UserError(problem, where=where, fix=f"use a backbone with a text tower such as open_clip, or {instead}")


def head_without_text(where: str = "head") -> UserError:
    """What to tell the user of a head that needs text, which the backbone has not."""
    return no_text_tower("the head", where, "a head that needs no text such as text_free")


def stage_without_text(where: str) -> UserError:
    """What to tell the user of a stage that needs text, which the backbone has not."""
    return no_text_tower("the stage", where, "leave the stage out")


def nearest_hint(name: str, known: Sequence[str]) -> str:
    """The words "did you mean 'x'? " with the nearest of the known names; empty where none is near."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'? " if near else ""
