"""The data set `manifest`: the published JSON lines, one image a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from aaclip_kit import DataSet, Register, Sample, UserError, UserErrors, hookimpl

from .folder import ClassOptions
from .mvtec_layout import unknown_classes

_SHOWN = 10


class ManifestOptions(ClassOptions):
    """Images listed in a JSON-lines manifest, the published form."""

    manifest: Annotated[Path, Field(strict=False)] = Field(
        description='JSON lines with "image_path", "label" (0 or 1), "class_name" and, where anomalous, "mask_path"'
    )
    root: Annotated[Path, Field(strict=False)] | None = Field(
        None, description="folder that the paths start from; by default the manifest's own"
    )


def read_manifest(options: ManifestOptions) -> DataSet:
    """The manifest's samples, sorted by class and image.

    Raises `UserErrors` with the number of each bad line: no JSON, a key missing or wrong, a file that is not there.
    """
    file = options.manifest.expanduser()
    root = options.root.expanduser() if options.root else file.parent
    samples, faults = _read_lines(file, root)
    names = sorted({sample.class_name for sample in samples})
    if not faults:
        faults = unknown_classes([*(options.classes or ()), *options.real_names], names, str(file))
    if faults:
        more = len(faults) - _SHOWN
        extra = [UserError(f"{more} more lines are wrong", where=str(file))] if more > 0 else []
        raise UserErrors([*faults[:_SHOWN], *extra])
    if not samples:
        raise UserError("the manifest names no image", where=str(file), fix="one JSON object a line")
    chosen = [name for name in names if options.classes is None or name in options.classes]
    samples.sort(key=lambda sample: (sample.class_name, str(sample.image)))
    kept = tuple(sample for sample in samples if sample.class_name in chosen)
    return DataSet(
        kept, {name: options.real_names.get(name, name.replace("_", " ")) for name in chosen}, options.domain
    )


def _read_lines(file: Path, root: Path) -> tuple[list[Sample], list[UserError]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError("is no text in UTF-8", where=str(file), fix="save it as JSON lines in UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(file), fix="correct `manifest`") from None
    samples, faults = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            samples.append(_sample(line, root))
        except ValueError as error:
            faults.append(UserError(str(error), where=f"{file}, line {number}"))
    return samples, faults


def _sample(line: str, root: Path) -> Sample:
    """One line's sample. Raises ValueError with what is wrong."""
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is no JSON ({error})") from None
    if not isinstance(entry, dict):
        raise ValueError("is no JSON object")
    label = entry.get("label")
    if isinstance(label, bool) or label not in (0, 1):
        raise ValueError(f'"label" must be 0 or 1, not {label!r}')
    image = _existing(entry, "image_path", root)
    class_name = entry.get("class_name")
    if not isinstance(class_name, str) or not class_name:
        raise ValueError(f'"class_name" must be a text, not {class_name!r}')
    if label == 0:
        return Sample(image, class_name, 0)
    return Sample(image, class_name, 1, _existing(entry, "mask_path", root))


def _existing(entry: dict[str, Any], key: str, root: Path) -> Path:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f'"{key}" must be a path, not {value!r}')
    path = root / value
    if not path.is_file():
        raise ValueError(f'"{key}": there is no file {path}')
    return path


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `manifest`."""
    register("manifest", read_manifest, ManifestOptions)
