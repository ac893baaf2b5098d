"""What another process lets go of is tried again, and what it keeps is left to it."""

from __future__ import annotations

from collections.abc import Sequence

from aaclip_kit.comparison.shared_work import share


def test_what_was_passed_over_is_done_once_nobody_is_at_work_on_it() -> None:
    left, busy, turns = ["a", "b", "c"], {"b", "c"}, list[list[str]]()

    def attempt(things: Sequence[str]) -> set[str]:
        turns.append(list(things))
        passed = busy & set(things)
        left[:] = [thing for thing in left if thing in busy]
        busy.discard("b")  # its process has died
        return passed

    share(lambda: list(left), attempt, busy.__contains__)
    assert turns == [["a", "b", "c"], ["b"]]
    assert left == ["c"]


def test_a_lock_that_only_others_see_is_not_tried_for_ever() -> None:
    turns = list[int]()

    def attempt(things: Sequence[str]) -> set[str]:
        turns.append(1)
        return set(things)

    share(lambda: ["a"], attempt, lambda _: False)
    assert len(turns) == 6


def test_what_failed_is_not_tried_again() -> None:
    turns = list[int]()

    def attempt(things: Sequence[str]) -> set[str]:
        turns.append(1)
        return set()

    share(lambda: ["a"], attempt, lambda _: False)
    assert len(turns) == 1
