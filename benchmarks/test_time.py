"""Seconds of each folder of tests, and the ten slowest tests.

python benchmarks/test_time.py                 runs `make test` and tells where its time went
python benchmarks/test_time.py --tier check    another tier of the Makefile: check, test or test-all
python benchmarks/test_time.py --read FILE     tells it of a file that pytest wrote with --junitxml

Seconds are those of a clock, set-up included, added up over the processes that share the tests: on a machine that has
other work they grow. Exits as `make` did.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
TIERS = ("check", "test", "test-all")
SLOWEST = 10


class Timed(NamedTuple):
    """One test: the folder and the file that it stands in, its name, its seconds."""

    folder: str
    file: str
    name: str
    seconds: float


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", choices=TIERS, default="test")
    parser.add_argument("--read", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.read:
        print("\n".join(lines(list(timed(arguments.read)))))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tests.xml")
        ran = subprocess.run(["make", arguments.tier, f"OPTIONS=--junitxml={file}"], cwd=ROOT, check=False)
        if file.exists():
            print("\n".join(lines(list(timed(file)))))
    sys.exit(ran.returncode)


def timed(file: Path) -> Iterator[Timed]:
    """Every test of a JUnit file."""
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        _, *folders, module = case.get("classname", "").split(".")
        yield Timed(
            "/".join(["tests", *folders[:1]]), "/".join(["tests", *folders, f"{module}.py"]),
            case.get("name", ""), float(case.get("time", "0")),
        )  # fmt: skip


def lines(tests: list[Timed]) -> Iterator[str]:
    """A table of the folders, the costly ones first, and one of the slowest tests."""
    seconds, counts = defaultdict[str, float](float), Counter(test.folder for test in tests)
    for test in tests:
        seconds[test.folder] += test.seconds
    yield f"{'folder':24} {'tests':>6} {'seconds':>9}"
    for folder, total in sorted(seconds.items(), key=lambda item: -item[1]):
        yield f"{folder:24} {counts[folder]:6} {total:9.1f}"
    yield f"{'all':24} {len(tests):6} {sum(seconds.values()):9.1f}"
    yield f"\nthe {SLOWEST} slowest"
    for test in sorted(tests, key=lambda test: -test.seconds)[:SLOWEST]:
        yield f"{test.seconds:9.1f}  {test.file}::{test.name}"


if __name__ == "__main__":
    main()
