"""Environment variables that change what a run does."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .finding import Finding

TELLING: Final = (
    *("AAKIT_CACHE", "AAKIT_REALDATA", "AAKIT_TRUST_PICKLES"),
    *("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"),
    *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TRITON_INTERPRET"),
)
"""Variables that are shown; none of them holds a secret."""


def variables() -> Iterator[Finding]:
    """Those that are set, and what is wrong with one."""
    given = {name: os.environ[name] for name in TELLING if name in os.environ}
    words = ", ".join(f"{name}={value}" for name, value in given.items())
    yield Finding("variables", "good", words or f"none is set of {', '.join(TELLING)}")
    real = given.get("AAKIT_REALDATA")
    if real and not Path(real).expanduser().is_dir():
        found = f"AAKIT_REALDATA names {real}, where there is no folder"
        yield Finding("variables", "bad", found, "set it to the folder of real images, or unset it")
    if given.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        found = "HF_HUB_OFFLINE is set: weights that are not on this machine are not fetched"
        yield Finding("variables", "note", found, "unset it to let experiments fetch the weights that they name")
    if given.get("TRITON_INTERPRET") == "1":
        found = "TRITON_INTERPRET is 1: kernels run in Triton's interpreter, which is slow and for tests"
        yield Finding("variables", "note", found, "unset it for runs")
