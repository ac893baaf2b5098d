"""Speed and memory of training and scoring against the naive way, and against the machine's matmul peak.

python benchmarks/bench.py                 all: main job, ViT-L/14-336 at 224 and 518 px; into results/latest.json
python benchmarks/bench.py --quick         the small embedded model instead, and no main job
python benchmarks/bench.py --only stage2   one part; also main_job, stage1, scoring
python benchmarks/bench.py --growth        time and memory as sizes grow, on the embedded model: a plot each

A part of the whole, or a quick run, is written nowhere but to --out FILE. Exits 1 where a demand is missed.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import results
from children import measured
from figures import Figures, figures
from growth import LEVELS, grow
from machine import describe
from main_job import by_turns, print_rows, rows
from workload import EMBEDDED, Kind, Load

PARTS: tuple[Kind, ...] = ("stage1", "stage2", "scoring")
NEEDED = 16e9
"""Bytes that the naive stage 2 takes at 518 px with a batch of 2."""


def main() -> None:
    """See above."""
    arguments = _parser().parse_args()
    if arguments.growth:
        grow(results.LATEST.parent)
        return
    device = arguments.device or _device()
    loads = [load for load in chosen(device, arguments.quick, arguments.full) if arguments.only in (None, load.kind)]
    _check_memory(loads)
    whole = not arguments.quick and arguments.only is None
    path = arguments.out or (results.LATEST if whole else None)
    if path:
        results.read(path)
    machine, missed = describe(), 0
    print(machine)
    found: Figures = {}
    if arguments.only in (None, "main_job") and not arguments.quick:
        missed, found = main_job(arguments.against)
    raw: dict[Load, Any] = {}
    for number, load in enumerate(loads, 1):
        print(f"{number} of {len(loads)}: {load.key}", flush=True)
        raw[load] = measured(load)
    found.update(figures(device, raw))
    results.show(found, loads)
    # What is asked is asked of the full architecture.
    missed += 0 if arguments.quick else results.show_asked(device, found)
    if path:
        results.write(path, machine, device, found, raw)
    sys.exit(1 if missed else 0)


def chosen(device: str, quick: bool, full: bool) -> list[Load]:
    """The loads of a device, the small ones first; `full` adds batches of one class and of four."""
    if quick:
        return [Load(kind, 112, 4, EMBEDDED, LEVELS, device, naive=1) for kind in PARTS]
    if device == "cuda":
        loads = [Load(kind, size, 16, device=device, own=20) for size in (224, 518) for kind in PARTS]
        # Too large a step for the naive way: the ratio is that of a batch of 2.
        loads = [replace(load, naive=0) if (load.kind, load.size) == ("stage2", 518) else load for load in loads]
        loads.append(Load("stage2", 518, 2, device=device, own=20))
    else:
        # A naive step at 518 px takes more than a minute: once must do.
        loads = [Load(kind, 224, 4) for kind in PARTS] + [Load(kind, 518, 2, naive=1) for kind in PARTS]
    first = loads[0]
    return loads + [replace(first, classes=classes, cached=False) for classes in (1, 4) if full]


def main_job(against: Path | None) -> tuple[int, Figures]:
    """The main job, printed as main_job.py does: how many misses, its figures, and the ratio to another checkout's."""
    found = rows()
    named = {name: value for name, value, _, _ in found}
    kept = {"main_job_minutes": named["minutes"], "main_job_peak_gb": named["peak memory, GB"]}
    if against:
        own, other = by_turns(against, 3, [])
        kept["main_job_ratio"] = median(other) / median(own)
    return print_rows(found), kept


def _check_memory(loads: Sequence[Load]) -> None:
    large = [load for load in loads if load.device == "cpu" and load.size == 518 and load.kind == "stage2"]
    free = psutil.virtual_memory().available
    if large and free < NEEDED:
        problem = f"the naive stage 2 at 518 px needs {NEEDED / 1e9:.0f} GB, and {free / 1e9:.0f} GB are free"
        print(f"error: {problem}; close other programs, or choose --quick or --only scoring", file=sys.stderr)
        sys.exit(2)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the embedded model at 112 px, in under a minute")
    parser.add_argument("--full", action="store_true", help="stage 1 with one class and with four in a batch, too")
    parser.add_argument("--only", choices=("main_job", *PARTS), help="one part")
    parser.add_argument("--growth", action="store_true", help="only the growth curves")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="by default the GPU where there is one")
    parser.add_argument(
        "--against", type=Path, help="an older checkout, whose main job is timed by turns with this one's"
    )
    parser.add_argument("--out", type=Path, help="file for the results instead of results/latest.json")
    return parser


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: no result is written")
