"""`python -P -m aaclip_kit.cluster.tied PARENT WORDS...`: Python with these words, asked to end when PARENT dies.

A scheduler that kills what it has started knows nothing of what that has started itself.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main(parent: int, words: list[str]) -> None:
    """Become Python with these words. Linux alone can tie it to its parent; elsewhere it outlives that."""
    if hasattr(signal, "SIGUSR2"):  # Slurm's warning, which is for the parent: it says what is to be done
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
