"""The ablation file's own tables: a base experiment, named variants of it, and data to ask them on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from ..contracts.errors import UserError, UserErrors, nearest_hint
from ..contracts.options import Options
from ..experiment.faults import explain
from ..experiment.toml_file import expanded, read_toml


def _plain_names(tables: dict[str, Any]) -> dict[str, Any]:
    for name in tables:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"the name '{name}' may hold letters, digits, '_' and '-' only: it names a folder")
    return tables


Overrides = Annotated[tuple[str, ...], Field(strict=False)]
RelativePath = Annotated[Path, Field(strict=False), AfterValidator(expanded)]


class VariantTable(Options):
    """One variant: what it changes of the base."""

    file: RelativePath | None = Field(None, description="experiment file, from this file's folder; default the base")
    set: Overrides = Field((), description='keys that it changes: ["stages.text_to_image.scale=1.0"]')
    rescore: str | None = Field(
        None, description="variant whose trained weights it scores again, where it changes nothing that training sees"
    )


class OtherDataTable(Options):
    """Other data on which every variant is asked again."""

    set: Overrides = Field(description='keys that name the data; {root} stands for the root: ["data.test.root={root}"]')
    root: RelativePath | None = Field(None, description="folder of the data, from this file's folder")
    root_variable: str | None = Field(None, description="environment variable that names the root instead, where set")
    optional: bool = Field(False, description="left out, and said so, where the root is no folder")
    rescore: bool = Field(False, description="scores the weights trained on the experiment's own data; trains nothing")


class StudyFile(Options):
    """An ablation: the same seeds, and so the same batches, for each variant."""

    base: RelativePath = Field(description="experiment file, from this file's folder")
    seeds: int = Field(5, ge=1, le=1000, description="runs of each variant: the file's seed and those after it")
    baseline: str | None = Field(None, description="variant that the others are compared with; default the first")
    variants: Annotated[dict[str, VariantTable], AfterValidator(_plain_names)] = Field(
        min_length=1, description="tables [variants.NAME]; an empty one is the base itself"
    )
    data: Annotated[dict[str, OtherDataTable], AfterValidator(_plain_names)] = Field(
        default_factory=dict, description="tables [data.NAME] of other data"
    )


def read_study(path: Path) -> StudyFile:
    """Read an ablation file. Raises `UserErrors` with every fault of its own tables."""
    tables = read_toml(path)
    if "backbone" in tables and "variants" not in tables:
        fix = "run it with `aakit run`; docs/guide/comparing.md shows an ablation file"
        raise UserError("is an experiment file, not an ablation file", where=str(path), fix=fix)
    try:
        file = StudyFile.model_validate(tables)
    except ValidationError as error:
        raise UserErrors(explain(error, StudyFile, str(path), "")) from None
    if faults := list(_faults(file, str(path))):
        raise UserErrors(faults)
    return file


def _faults(file: StudyFile, path: str) -> Iterator[UserError]:
    known = list(file.variants)
    if file.baseline is not None and file.baseline not in known:
        yield unknown(file.baseline, "variant", known, f"{path}: baseline")
    for name, table in file.variants.items():
        where = f"{path}: variants.{name}"
        if any(one.partition("=")[0].strip() == "seed" for one in table.set):
            fix = "take it out; the seeds are the base's and those after it"
            yield UserError("sets the seed, which is the same for every variant", where=f"{where}.set", fix=fix)
        if table.rescore is None:
            continue
        if table.rescore not in known:
            yield unknown(table.rescore, "variant", known, f"{where}.rescore")
        elif (trains := file.variants[table.rescore].rescore) is not None:
            problem = f"'{table.rescore}' trains nothing itself"
            yield UserError(problem, where=f"{where}.rescore", fix=f"name the variant that trains: '{trains}'")
    for name in file.data:
        if name in known:
            yield UserError("is the name of a variant and of data", where=f"{path}: data.{name}", fix="rename one")


def unknown(name: str, kind: str, known: list[str], where: str) -> UserError:
    """What to tell the user of a name that no variant, or no table of `[data]`, has."""
    fix = f"{nearest_hint(name, known)}known: {', '.join(known) or 'none'}"
    return UserError(f"there is no {kind} called '{name}'", where=where, fix=fix)
