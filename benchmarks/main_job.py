"""The main job against what is asked of it: time, memory, and the unseen classes. Prints a table; exits 1 on a miss.

python benchmarks/main_job.py [--out DIR] [--set table.key=value ...]
python benchmarks/main_job.py --against DIR [--repetitions 3]

The second form runs the main job of this checkout and of another by turns, and prints the ratio of their medians.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from machine import checkout, describe, main_job

Row = tuple[str, float, str, float]
"""A figure's name and value, "<=" or ">=", and what is asked."""

ASKED = {"synthetic": (0.95, 0.92), "blended": (0.90, 0.85)}
"""Pixel and image AUROC that the last loop must reach on the unseen classes, by data set."""


def main() -> None:
    """Run the main job in a process of its own and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the run is kept; by default it is thrown away")
    parser.add_argument("--set", action="append", default=[], help="as for aakit run")
    parser.add_argument("--against", type=Path, help="another checkout, whose main job runs by turns with this one's")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each with --against")
    arguments = parser.parse_args()
    print(describe())
    if arguments.against:
        own, other = by_turns(arguments.against, arguments.repetitions, arguments.set)
        print(f"here {shown(own)}, there {shown(other)}: {median(other) / median(own):.2f} times as fast")
        return
    sys.exit(1 if print_rows(rows(arguments.out, arguments.set)) else 0)


def rows(out: Path | None = None, overrides: list[str] | None = None) -> list[Row]:
    """Every figure of one run, with what is asked of it."""
    with tempfile.TemporaryDirectory() as folder:
        kept = out or Path(folder) / "run"
        seconds, memory = timed_run(kept, overrides or [])
        found = demands(json.loads((kept / "metrics.json").read_text()))
    found += [("minutes", seconds / 60, "<=", 3.0), ("peak memory, GB", memory / 1e9, "<=", 2.0)]
    return found + [
        (f"seconds of `aakit {command}`", start_up(command), "<=", 0.5) for command in ("--help", "list-plugins")
    ]


def print_rows(found: list[Row]) -> int:
    """Print the figures; returns how many miss what is asked."""
    missed = 0
    for name, value, sign, asked in found:
        reached = value <= asked if sign == "<=" else value >= asked
        missed += not reached
        print(f"{name:58} {value:8.3f}   asked {sign} {asked:.3f}   {'reached' if reached else 'MISSED'}")
    return missed


def by_turns(other: Path, repetitions: int, overrides: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of each run here, and of each run of the checkout `other`, after one of each that draws the data."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(repetitions + 1):
        for place, kept in zip((Path(__file__).parents[1], other.resolve()), seconds, strict=True):
            with tempfile.TemporaryDirectory() as folder:
                found, _ = timed_run(Path(folder) / "run", overrides, place)
            if number:
                kept.append(found)
    return seconds


def shown(seconds: list[float]) -> str:
    """The median and each of the runs."""
    return f"{median(seconds):.1f} s (of {', '.join(f'{one:.1f}' for one in seconds)})"


def timed_run(out: Path, overrides: list[str], place: Path | None = None) -> tuple[float, int]:
    """Seconds and peak resident bytes of one run of the main job, of this checkout or of that in `place`."""
    with checkout(place) as environment:
        start, peak = time.perf_counter(), 0
        process = subprocess.Popen(main_job(out, overrides, place), env=environment)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.2)
        if process.wait() != 0:
            sys.exit(process.returncode)
        return time.perf_counter() - start, peak


def demands(metrics: dict[str, Any]) -> list[Row]:
    """What the last loop must reach on the unseen classes, and beside what."""
    last, best = metrics["loops"][-1], (metrics["before"], metrics["loops"][0])
    rows: list[Row] = []
    for name, asked in ASKED.items():
        for key, least in zip(("pixel_auroc", "image_auroc"), asked, strict=True):
            metric, reached = f"{name}: {key.replace('_auroc', ' AUROC')}", last["sets"][name][key]
            rows.append((metric, reached, ">=", least))
            start = max(found["sets"][name][key] for found in best)
            rows.append((f"{metric}, less the better of before and loop 1", reached - start, ">=", -0.01))
            for rule, found in metrics["rules"].items():
                known = found["sets"][name][key]
                above = f"{metric}, above rule {rule.replace('_', ' ')} ({known:.3f})"
                rows.append((above, reached - known, ">=", 0.0))
    return rows


def start_up(command: str) -> float:
    """Median seconds of a command that must not load torch, after one warm-up."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-P", "-m", "aaclip_kit", command], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[2]


if __name__ == "__main__":
    main()
