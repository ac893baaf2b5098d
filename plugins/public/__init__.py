"""The public data sets, each under its own name: their classes, real names, domains and layouts are in facts.toml."""

import csv
import tomllib
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, create_model

from aaclip_kit import DataOrigin, DataSet, Options, Register, UserError, UserErrors, hookimpl

from ..folder import LAYOUTS, Classes, DataPath, read_classes, unknown_classes
from ..manifest import read_rows

FACTS: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("facts.toml").read_text(encoding="utf-8"))
"""Title, domain, layout, published split, and classes with their real names, of each data set by name."""


class PublicOptions(Options):
    """A public data set as its publishers pack it."""

    root: DataPath = Field(description="folder of the unpacked data set")
    classes: Classes | None = Field(None, description="classes to read; by default all, and each of them must be there")
    real_names: dict[str, str] = Field(
        default_factory=dict, description="class to the name that the prompts use, in place of the published one"
    )
    manifest: DataPath | None = Field(
        None, description="list of the images to read, as of data set manifest, in place of all in the layout's folders"
    )


def read_public(name: str, options: PublicOptions) -> DataSet:
    """The samples of the public data set `name`: of its published split, where a list of that lies below the root.

    Raises `UserErrors` for a root that is not there, a class that is unknown, missing or empty, and a manifest that
    cannot be read or names other classes.
    """
    facts, root = FACTS[name], options.root.expanduser()
    known = list(facts["classes"])
    if unknown := unknown_classes([*(options.classes or ()), *options.real_names], known, f"classes of {name}"):
        raise UserErrors(unknown)
    if not root.is_dir():
        fix = f"correct `root`, or put {facts['title']} there"
        raise UserError("there is no such folder", where=str(root), fix=fix)
    real_names = {**facts["classes"], **options.real_names}
    read = _from_manifest if options.manifest else _from_folders
    data, split = read(name, options, root, real_names), FACTS[name].get("split")
    if split and not options.manifest:
        data = _only_split(data, root, split)
    return replace(data, not_comparable=data.not_comparable or _not_comparable(data, name))


def _from_folders(name: str, options: PublicOptions, root: Path, real_names: dict[str, str]) -> DataSet:
    layout = LAYOUTS[FACTS[name]["layout"]]
    chosen = [class_name for class_name in real_names if options.classes is None or class_name in options.classes]
    folders = {class_name: root / class_name if layout.class_folders else root for class_name in chosen}
    if missing := [class_name for class_name, folder in folders.items() if not folder.is_dir()]:
        fix = f"{FACTS[name]['title']} is read from {layout}; `classes` names those that are to be read"
        raise UserError(f"has no folder for {', '.join(missing)}", where=str(root), fix=fix)
    return read_classes(folders, layout, real_names, FACTS[name]["domain"], name)


def _from_manifest(name: str, options: PublicOptions, root: Path, real_names: dict[str, str]) -> DataSet:
    assert options.manifest
    file = options.manifest.expanduser()
    data = read_rows(file, root, options.classes, {}, FACTS[name]["domain"], name)
    if strange := unknown_classes(list(data.real_names), list(real_names), str(file)):
        raise UserErrors(strange)
    return replace(data, real_names={class_name: real_names[class_name] for class_name in data.real_names})


def _only_split(data: DataSet, root: Path, split: str) -> DataSet:
    """The samples that the publishers' list has under "test"; all where there is no such list."""
    file = root / split
    if not file.is_file():
        reason = f"all images of the folders are read: the list of the published split, {split}, is not below {root}"
        return replace(data, not_comparable=reason)
    wanted = {root / image for image in _listed(file, data.real_names)}
    samples = tuple(sample for sample in data.samples if sample.image in wanted)
    known = {*(sample.image for sample in samples), *(Path(fault.where or "") for fault in data.faults)}
    problem, fix = f"{split} names this image of the test split, and it is not there", "unpack the data set again"
    missing = [UserError(problem, where=str(image), fix=fix) for image in sorted(wanted - known)]
    return replace(data, samples=samples, faults=(*data.faults, *missing))


def _listed(file: Path, classes: Container[str]) -> list[Path]:
    """The test images of these classes. Raises `UserError` for what is no list of a split."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text, strict=True)
            return [Path(row["image"]) for row in rows if row["split"] == "test" and row["object"] in classes]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        fix = "unpack it again, or remove it: then all images of the folders are read"
        raise UserError("is no list with object, split and image", where=str(file), fix=fix) from None


def _not_comparable(data: DataSet, name: str) -> str | None:
    """Why figures that are published for the data set are not for these samples."""
    classes, published = FACTS[name]["classes"], FACTS[name]["published"]
    if len(data.real_names) < len(classes):
        return f"{len(data.real_names)} of the {len(classes)} classes of {FACTS[name]['title']} are read"
    anomalous = sum(sample.label for sample in data.samples)
    counts = {"normal": len(data.samples) - anomalous, "anomalous": anomalous}
    if counts == published:
        return None
    here, there = (f"{of['normal']} normal and {of['anomalous']} anomalous" for of in (counts, published))
    return f"there are {here} images, and {there} in the published split of {FACTS[name]['title']}"


_ORIGIN = ("title", "page", "licence", "url", "sha256", "split")


@dataclass(frozen=True)
class PublicDataSet:
    """The factory of the public data set `name`."""

    name: str

    def __call__(self, options: PublicOptions) -> DataSet:
        """Read it; see `read_public`."""
        return read_public(self.name, options)

    @property
    def origin(self) -> DataOrigin:
        """Where its publishers have it."""
        known: dict[str, Any] = {key: FACTS[self.name].get(key) for key in _ORIGIN}
        return DataOrigin(**known)


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer each data set of facts.toml."""
    for name, facts in FACTS.items():
        classes = len(facts["classes"])
        about = f"{facts['title']}: {classes} {facts['domain']} class{'es' if classes > 1 else ''}."
        options = create_model(f"{name}_options", __base__=PublicOptions, __doc__=about)
        register(name, PublicDataSet(name), options)
