"""The public data sets, each under its own name: their classes, real names, domains and layouts are in facts.toml."""

import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, create_model

from aaclip_kit import DataSet, Options, Register, UserError, UserErrors, hookimpl

from ..folder import LAYOUTS, Classes, DataPath, read_classes, unknown_classes
from ..manifest import read_rows

FACTS: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("facts.toml").read_text(encoding="utf-8"))
"""Title, domain, layout, and classes with their real names, of each data set by name."""


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
    """The samples of the public data set `name`.

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
    return read(name, options, root, real_names)


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


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer each data set of facts.toml."""
    for name, facts in FACTS.items():
        classes = len(facts["classes"])
        about = f"{facts['title']}: {classes} {facts['domain']} class{'es' if classes > 1 else ''}."
        options = create_model(f"{name}_options", __base__=PublicOptions, __doc__=about)
        register(name, partial(read_public, name), options)
