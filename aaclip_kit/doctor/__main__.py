"""`python -m aaclip_kit.doctor MODULE:FUNCTION`: one probe; prints findings as lines of JSON."""

import json
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module

from ..contracts.errors import UserError
from .examine import Finding, could_not


def main(probe: str) -> None:
    """Print what a probe finds, each as soon as it is found. What libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        for finding in look(probe):
            print(json.dumps(asdict(finding)), file=out, flush=True)


def look(probe: str) -> Iterator[Finding]:
    """What a probe finds; what it raises is its last finding."""
    module, _, function = probe.partition(":")
    try:
        yield from getattr(import_module(module), function)()
    except UserError as error:
        yield Finding(function, "bad", " ".join(filter(None, (error.where, error.problem))), error.fix)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        yield could_not(probe, f"{type(error).__name__}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main(sys.argv[1])
