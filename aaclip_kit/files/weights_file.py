"""Files of weights: safetensors, and pickles as far as torch's reader of them can be trusted."""

import os
import re
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch
from packaging.version import Version
from safetensors import safe_open

from ..contracts.errors import UserError

TRUST: Final = "AAKIT_TRUST_PICKLES"
"""The environment variable that, set to 1, says that the user trusts the makers of the pickles that are read."""

WEAKNESS: Final = "CVE-2026-24747"
"""Of torch before 2.10: a pickle can corrupt memory, and perhaps run code, though weights alone are loaded."""

_GLOBAL = re.compile(r"Unsupported global: GLOBAL (\S+)")


def reads_safely(version: str) -> bool:
    """Whether a version of torch is without `WEAKNESS`."""
    return Version(version).release >= (2, 10)


def read_weights(path: Path) -> Any:
    """What a file of weights holds, on the CPU: a `.safetensors` file's tensors by name, a pickle's in its containers.

    Of a pickle tensors in plain containers are loaded and nothing else; no code is run. Raises `UserError` for a file
    that is damaged or holds anything else; and for every pickle where torch is older than 2.10, whose reader a hostile
    file can overcome, unless the environment variable AAKIT_TRUST_PICKLES is 1.
    """
    if path.suffix != ".safetensors":
        return _read_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:  # a damaged file can raise nearly anything
        raise _no_weights(path, str(error)) from None


def pickled(content: Mapping[str, Any]) -> bytes:
    """A pickle that `read_weights` reads."""
    file = BytesIO()
    torch.save(dict(content), file)
    return file.getvalue()


def _read_pickle(path: Path) -> Any:
    if not reads_safely(torch.__version__) and os.environ.get(TRUST) != "1":
        problem = f"is a pickle, which torch {torch.__version__} cannot read safely ({WEAKNESS})"
        fix = f"install torch 2.10 or newer, or give safetensors; set {TRUST}=1 if you trust who made the file"
        raise UserError(problem, where=str(path), fix=fix)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of comes back as an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise _unreadable(path, str(error)) from None


def _no_weights(path: Path, said: str) -> UserError:
    reason = said.partition("\n")[0].partition(". ")[0] or "it is empty"
    fix = "give a whole file that holds weights only; a download may have been cut short"
    return UserError(f"cannot be read: damaged, or no file of weights ({reason})", where=str(path), fix=fix)


def _unreadable(path: Path, said: str) -> UserError:
    # torch's own text is long, and tells how to load the file with its code.
    if "weights_only" not in said and "TorchScript" not in said:
        return _no_weights(path, said)
    named = _GLOBAL.search(said)
    held = f"it holds {named[1]}, which is no weight" if named else "it is damaged or holds more than weights"
    problem = f"cannot be read: {held}; refused, since loading it could run its code"
    fix = "save its tensors alone on a machine where you trust the file, and give that"
    return UserError(problem, where=str(path), fix=fix)
