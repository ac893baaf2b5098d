"""The file of a memory's banks, beside the checkpoints that they are used with: safetensors, with what they are of."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter
from torch import Tensor

from ..contracts.errors import UserError
from ..contracts.reference import Bank, Reference
from ..data.load_data import Data
from ..evaluation.references import References
from ..experiment import Experiment
from ..files.weights_file import as_safetensors, check_kind, read_safetensors
from ..files.whole_file import write_whole
from ..record.run_folder import BANK
from .provenance import Metadata

FORMAT: Final = "aaclip_kit bank 1"

_Digests = tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...]
_IMAGES: Final = TypeAdapter(dict[str, _Digests])
_PIXELS: Final = TypeAdapter(_Digests)


def bank_of(checkpoint: Path) -> Path:
    """Where the banks of a checkpoint lie."""
    return checkpoint.with_name(BANK)


def write_banks(path: Path, references: References, reference: Reference, use: str) -> None:
    """Write the banks of all classes, with the checksums of every image in them, whole or not at all."""
    tensors = {
        f"{number}.{part}": tensor.detach().cpu().contiguous()
        for number, bank in enumerate(references.banks.values())
        for part, tensor in bank.items()
    }
    digests = {"images": json.dumps(dict(references.images)), "pixels": json.dumps(references.pixels)}
    about = {"format": FORMAT, "made": _made(reference, use), **digests}
    write_whole(path, as_safetensors(tensors, about))


def read_banks(path: Path, reference: Reference, use: str, metadata: Metadata) -> References:
    """Read the banks beside a checkpoint, and of it what its head says of the images that are in them.

    Raises `UserError` for a file that is missing or damaged, or was made by another memory or with other options, and
    for a checkpoint of other classes.
    """
    if not path.is_file():
        fix = "put the file of the run's folder checkpoints beside the checkpoint"
        raise UserError("the memory of the model is not there", where=str(path), fix=fix)
    check_kind(path)
    tensors, about = _content(path)
    images, pixels = _images(path, about)
    if about.get("format") != FORMAT or about.get("made") != _made(reference, use):
        problem = f"was not filled by the experiment's memory, {use}, as it is set"
        fix = "leave the options alone that the bank depends on, or use the bank of this checkpoint's run"
        raise UserError(problem, where=str(path), fix=fix)
    if missing := images.keys() - metadata.normal_scores.keys():
        problem = f"holds class {min(missing)}, of whose images the checkpoint says nothing"
        raise UserError(problem, where=str(path), fix="use the bank of this checkpoint's run")
    banks = {name: _part(tensors, f"{number}.") for number, name in enumerate(images)}
    return References(banks, images, metadata.normal_scores, pixels)


def remembered(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the SHA-256 of each class's images that a file of banks is of. Raises `UserError` for no such file."""
    return _images(path, _content(path)[1])[0]


def check_unremembered(references: References, data: Data, allowed: bool) -> None:
    """Raise `UserError` where test images are among those that are remembered as normal, unless that is allowed."""
    known, test = references.digests, data.fingerprints["test"]
    found = [path for path, digest in test.images.items() if {digest, test.pixels[path]} & known]
    if found and not allowed:
        problem = f"the model remembers {len(found)} of these images as normal, by content; the first is {found[0]}"
        fix = "use images that it has not seen, or set data.allow_overlap = true"
        raise UserError(problem, where="data.test", fix=fix)


def reference_name(experiment: Experiment) -> str:
    """What the experiment calls its memory."""
    assert experiment.reference is not None
    return experiment.reference.component.name


def _made(reference: Reference, use: str) -> str:
    """All that banks depend on beside the images and the backbone, in one form."""
    facts = {"use": use, "reads": asdict(reference.reads), "levels": list(reference.levels)}
    return json.dumps({**facts, **reference.bank_depends_on}, sort_keys=True)


def _content(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        return read_safetensors(path)
    except Exception as error:  # a damaged file can raise nearly anything
        raise _damaged(path, error) from None


def _images(path: Path, about: Mapping[str, str]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Checksums of the images' files, by class, and of their pixels."""
    try:
        return _IMAGES.validate_json(about.get("images", "")), _PIXELS.validate_json(about.get("pixels", "[]"))
    except ValueError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    fix = "restore it from the run's folder"
    return UserError(f"cannot be read: damaged, or no bank of aaclip_kit ({reason})", where=str(path), fix=fix)


def _part(tensors: Mapping[str, Any], prefix: str) -> Bank:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
