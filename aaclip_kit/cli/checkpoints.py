"""`aakit import-checkpoint` and `aakit export-checkpoint`: published checkpoints to ours, and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..contracts.errors import UserError
from ..discovery import discover
from ..experiment import load
from .run import SET_HELP

if TYPE_CHECKING:
    from torch import Tensor

EXPERIMENT_HELP = "Experiment file whose backbone, levels and stages the checkpoint fits."


def import_checkpoint(
    files: list[Path] = typer.Argument(help="text_adapter.pth and image_adapter_N.pth, or loop_N_final.pth."),
    experiment: Path = typer.Option(help=EXPERIMENT_HELP),
    out: Path = typer.Option(
        help="Checkpoint to write, FILE.safetensors; or a folder, for imported.safetensors in it."
    ),
    overrides: list[str] = typer.Option([], "--set", help=SET_HELP),
) -> None:
    """Make a checkpoint from published files. Reads neither data nor CLIP's weights; overwrites nothing."""
    target = _target(out)
    chosen = load(experiment, discover(), overrides)
    from ..engine.checkpoint import wanted_by
    from ..engine.published import detector_without_weights, to_ours
    from ..engine.published_files import read_published

    found = read_published(files)
    detector = detector_without_weights(chosen)
    state = to_ours(found.tensors, detector, ", ".join(map(str, files)))
    _, fresh = wanted_by(detector, state)
    _write(state, target, {"imported_from": [file.name for file in files]})
    for part, source in found.sources.items():
        count = sum(name.startswith(f"{part}.") for name in found.tensors)
        print(f"{part}: {count} tensors from {source}")
    if found.ignored:
        print(f"passed over: {', '.join(dict.fromkeys(found.ignored))}")
    if fresh:
        print(f"not in it, so a run starts these stages fresh: {', '.join(fresh)}")
    print(f"wrote {target}")


def export_checkpoint(
    file: Path = typer.Argument(help="A checkpoint of a run, such as checkpoints/loop_3.safetensors."),
    experiment: Path = typer.Option(help=EXPERIMENT_HELP),
    out: Path = typer.Option(help="Folder for the published files."),
    overrides: list[str] = typer.Option([], "--set", help=SET_HELP),
) -> None:
    """Write a checkpoint in the published layout. Reads neither data nor CLIP's weights; overwrites nothing."""
    chosen = load(experiment, discover(), overrides)
    from ..engine.checkpoint import read
    from ..engine.published import detector_without_weights, to_published
    from ..engine.published_files import number_of, write_published

    tensors = to_published(read(file), detector_without_weights(chosen), str(file))
    for path in write_published(tensors, out, number_of(file)):
        print(f"wrote {path}")


def _target(out: Path) -> Path:
    """The checkpoint's path. Raises `UserError` where it exists or would be another kind of file."""
    target = out if out.suffix and not out.is_dir() else out / "imported.safetensors"
    if target.suffix != ".safetensors":
        fix = "name a file that ends in .safetensors, or a folder"
        raise UserError("a checkpoint is written as .safetensors alone", where=str(target), fix=fix)
    if target.exists():
        raise UserError("exists already", where=str(target), fix="name another file with --out")
    return target


def _write(state: "Mapping[str, Tensor]", target: Path, about: dict[str, list[str]]) -> None:
    from safetensors import SafetensorError

    from ..engine.checkpoint import made_for, not_writable, write

    made_for(target)
    try:
        # Tensors of one pickle may share memory, which safetensors refuses.
        write({name: value.detach().clone().contiguous() for name, value in state.items()}, target, about)
    except (OSError, SafetensorError) as error:
        target.with_name(target.name + ".part").unlink(missing_ok=True)
        raise not_writable(target, error) from None
