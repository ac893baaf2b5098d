"""The process of one tracker, beside the run: it follows the run's events until the run lets go of it.

Standard input brings one line of JSON that says what to do, and then nothing until it ends, as it does too where the
run's process dies.
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from ..contracts.errors import UserError
from ..experiment.check import check_tracker_table
from ..files.lock import InUseError
from ..plugin_host.discovery import discover, with_plugin_files
from .deliver import Delivery
from .place import Place

EVERY: Final = 0.5
"""Seconds between two looks at the events."""

_OTHERS: Final = 20.0
"""Seconds in which the process that an earlier life of the run has left may still come to its end."""


def main() -> int:
    """Follow a run; the exit code is 2 where the tracker was dropped, and what it was sent says why."""
    for name in ("SIGINT", "SIGHUP"):  # meant for the run, which then ends this process too
        with suppress(AttributeError, ValueError):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        os.nice(5)
    order: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    over = Event()
    Thread(target=_wait_for_the_end, args=(over,), daemon=True).start()
    place, until = Place(Path(order["place"])), time.monotonic() + _OTHERS
    while True:
        try:
            with place.alone():
                return _follow(order, place, over)
        except InUseError as error:
            if time.monotonic() > until:
                print(error, flush=True)
                return 2
        time.sleep(EVERY)


def _wait_for_the_end(over: Event) -> None:
    sys.stdin.buffer.read()
    over.set()


def _follow(order: dict[str, Any], place: Place, over: Event) -> int:
    try:
        registry = with_plugin_files(discover(), [Path(file) for file in order["plugins"]], "plugins")
        chosen = check_tracker_table(order["table"], registry, "trackers")
        tracker = chosen.component.build(chosen.options)
        delivery = Delivery(Path(order["run"]), chosen.component, tracker, place, patience=order["patience"])
        delivery.begin()
        while True:
            last = over.is_set()  # before the events are read, so that none is missed
            delivery.events()
            if last:
                delivery.end()
                return 0
            over.wait(EVERY)
    except UserError as error:
        sent = place.sent
        sent.problem = str(error.problem)
        place.write(sent)
        print(error, flush=True)
        return 2


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads that a tracker has left behind are not waited for
