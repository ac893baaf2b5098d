"""Joining the processes that torchrun has started: how long is waited, and what is said where they do not come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from torch import distributed

from aaclip_kit import UserError
from aaclip_kit.cli.processes import _join
from aaclip_kit.distributed.ranks import Ranks

# The module: the package has a function of the same name.
RENDEZVOUS = import_module("torch.distributed.rendezvous")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What torch is asked for, in place of a group of processes."""
    found: dict[str, Any] = {}

    def meet(url: str, timeout: timedelta) -> Iterator[tuple[object, int, int]]:
        found.update(url=url, joining=timeout)
        yield distributed.HashStore(), 1, 2  # type: ignore[attr-defined]

    monkeypatch.setattr(RENDEZVOUS, "rendezvous", meet)
    monkeypatch.setattr(
        distributed, "init_process_group", lambda backend, **more: found.update(backend=backend, **more)
    )
    return found


def test_all_must_be_there_within_ten_minutes_and_nobody_waits_longer_than_two_hours(asked: dict[str, Any]) -> None:
    _join(Ranks(1, 2, 1))
    assert (asked["url"], asked["joining"], asked["timeout"]) == ("env://", timedelta(minutes=10), timedelta(hours=2))
    assert (asked["rank"], asked["world_size"]) == (1, 2)


def test_processes_that_do_not_come_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(url: str, timeout: timedelta) -> Iterator[Any]:
        raise RuntimeError("The client socket has timed out\nand a trace")
        yield

    monkeypatch.setattr(RENDEZVOUS, "rendezvous", nobody)
    with pytest.raises(UserError) as caught:
        _join(Ranks(0, 8, 0))
    said = "the 8 processes that torchrun names did not come together (The client socket has timed out)"
    assert (caught.value.problem, caught.value.where) == (said, "torchrun")
    assert caught.value.fix == "start all of them, on machines that reach one another"
