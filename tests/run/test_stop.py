"""Signals: the first is noted, the second ends the process, and afterwards all is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from aaclip_kit.run.stop import Stopped, StopRequest

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_noted_and_ends_a_run_where_it_is_asked(number: signal.Signals) -> None:
    stop = StopRequest()
    with stop.listening():
        stop.raise_if_asked()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped) as stopped:
            stop.raise_if_asked()
    assert (stopped.value.code, str(stopped.value)) == (128 + number, number.name)


@pytest.mark.parametrize("first", ALL)
def test_a_second_signal_ends_it_at_once(first: signal.Signals) -> None:
    stop = StopRequest()
    with stop.listening():
        os.kill(os.getpid(), first)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)  # where the signal arrives, if it does


DEAF = """
import sys, time
from aaclip_kit.run.stop import StopRequest
with StopRequest().listening():
    print("listening", flush=True)
    while True:
        time.sleep(0.01)
"""


def test_sigterm_after_sigint_ends_a_process_that_never_asks() -> None:
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "listening\n"
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.3)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == -signal.SIGTERM
        finally:
            process.kill()


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = [signal.getsignal(number) for number in ALL]
    with StopRequest().listening():
        assert [signal.getsignal(number) for number in ALL] != before
        os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in ALL] == before


@pytest.mark.parametrize("number", ALL)
def test_a_signal_that_is_ignored_stays_so(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        stop = StopRequest()
        with stop.listening():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM if number != signal.SIGTERM else signal.SIGINT)
            assert signal.getsignal(number) is signal.SIG_IGN
        assert stop.number is not None and stop.number != number
    finally:
        signal.signal(number, before)
