"""Starts `aakit` commands as children of a process that has imported everything, so that one life costs no start-up.

Each line of standard input is a JSON list of arguments; the answers are the child's number, and how it ended.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    import torch

    from aaclip_kit.cli import main as aakit

    torch.set_num_threads(1)
    for line in sys.stdin:
        # Line by line, and flushed, since the child would take what is buffered with it.
        child = os.fork()
        if child == 0:
            sys.argv = ["aakit", *json.loads(line)]
            with open(os.environ["AAKIT_CHILD_LOG"], "a") as log:  # noqa: PTH123 - a plain descriptor is wanted
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            try:
                aakit()
            except SystemExit as left:
                sys.stdout.flush()
                os._exit(left.code if isinstance(left.code, int) else 0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(99)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
