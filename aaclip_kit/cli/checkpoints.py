"""`aakit import-checkpoint` and `aakit export-checkpoint`: published checkpoints to ours, and back."""

from collections.abc import Collection, Sequence
from importlib.resources import as_file
from importlib.resources import files as packaged
from pathlib import Path

from typer import Argument, Option

from ..contracts.errors import UserError, in_short, writing
from ..contracts.options import TOWERS
from ..experiment import Experiment, check, checked, load, read_toml
from ..plugin_host.discovery import discover
from ..plugin_host.registry import Component, Registry
from .run import SET_HELP
from .terminal import say

_STAGES = {"text_cross_attn": "text_to_image", "image_cross_attn": "image_to_text"}
"""The stage of published.toml for each part that some published checkpoints lack."""


def import_checkpoint(
    files: list[Path] = Argument(help="text_adapter.pth and image_adapter_N.pth, or loop_N_final.pth."),
    experiment: Path | None = Option(
        None, help="Experiment file that the checkpoint fits; by default the published architecture, ViT-L/14-336."
    ),
    out: Path = Option(help="Checkpoint to write, FILE.safetensors; or a folder, for imported.safetensors in it."),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
) -> None:
    """Make a checkpoint from published files. Reads neither data nor CLIP's weights; overwrites nothing."""
    target, registry = _target(out), discover()
    from ..checkpoints.checkpoint import made_for, wanted_by, write
    from ..checkpoints.component_layout import known_component
    from ..checkpoints.provenance import Metadata, Provenance
    from ..checkpoints.published_layout import attending_towers, model_without_weights, read_published, to_ours
    from ..experiment import resolved_toml

    if (known := known_component(files, registry)) is not None:
        _import_component(files, known, experiment, target, registry, overrides)
        return
    published = read_published(files)
    chosen = load(experiment, registry, overrides) if experiment else _published(registry, published.sources, overrides)
    model = model_without_weights(chosen)
    state = to_ours(published.tensors, model, ", ".join(map(str, files)))
    _, fresh = wanted_by(model, state)
    names = tuple(file.name for file in files)
    about = Provenance(chosen.file.name, imported_from=names, attending=attending_towers(published.sources))
    made_for(target)
    # Tensors of one pickle may share memory, which safetensors refuses.
    apart = {name: value.detach().clone().contiguous() for name, value in state.items()}
    with writing(target):
        write(apart, target, Metadata(about, resolved_toml(chosen)))
    for part, source in published.sources.items():
        count = sum(name.startswith(f"{part}.") for name in published.tensors)
        say(f"{part}: {count} tensors from {source}")
    if published.ignored:
        say(f"passed over: {in_short(dict.fromkeys(published.ignored))}")
    if fresh:
        say(f"not in it, so a run starts these stages fresh: {in_short(fresh)}")
    say(f"wrote {target}")


def _import_component(
    files: list[Path],
    known: Component,
    experiment: Path | None,
    target: Path,
    registry: Registry,
    overrides: list[str],
) -> None:
    """The same for files of a component that says which of their tensors is which of its own."""
    from ..checkpoints.checkpoint import made_for, write
    from ..checkpoints.component_layout import component_state, read_tables, uses
    from ..checkpoints.provenance import Metadata, Provenance
    from ..checkpoints.published_layout import model_without_weights
    from ..experiment import resolved_toml

    where, named = ", ".join(map(str, files)), f"{known.kind} '{known.name}'"
    if experiment is None:
        fix = "name an experiment that has it with --experiment"
        raise UserError(f"is a checkpoint of {named}", where=where, fix=fix)
    chosen = load(experiment, registry, overrides)
    model = model_without_weights(chosen)
    state, unused = component_state(read_tables(files), model, where, None if uses(chosen, known) else named)
    about = Provenance(chosen.file.name, imported_from=tuple(file.name for file in files), attending=TOWERS)
    made_for(target)
    with writing(target):
        apart = {name: value.detach().clone().contiguous() for name, value in state.items()}
        write(apart, target, Metadata(about, resolved_toml(chosen)))
    say(f"{named}: {len(state)} tensors from {where}")
    if unused:
        say(f"passed over, as the published code does: {', '.join(unused)}")
    say(f"wrote {target}")


def export_checkpoint(
    file: Path = Argument(help="A checkpoint, such as checkpoints/loop_3.safetensors, or a run's folder."),
    experiment: Path | None = Option(
        None, help="Experiment file that the checkpoint fits; by default the one that it was trained with."
    ),
    out: Path = Option(help="Folder for the published files."),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
) -> None:
    """Write a checkpoint in the published layout. Reads neither data nor CLIP's weights; overwrites nothing."""
    from ..checkpoints.find_checkpoint import find_trained

    trained = find_trained(file, discover(), experiment, overrides)
    from ..checkpoints.checkpoint import read
    from ..checkpoints.published_layout import model_without_weights, number_of, to_published, write_published

    source = trained.checkpoint
    tensors = to_published(read(source), model_without_weights(trained.experiment), str(source))
    for path in write_published(tensors, out, number_of(source)):
        say(f"wrote {path}")


def _published(registry: Registry, parts: Collection[str], overrides: Sequence[str]) -> Experiment:
    """The published architecture, without the cross-attention that the files do not hold."""
    with as_file(packaged("aaclip_kit.experiment") / "published.toml") as path:
        tables = read_toml(path)
    for part, stage in _STAGES.items():
        if part not in parts:
            del tables["stages"][stage]
    return checked(tables, overrides, lambda tables: check(tables, registry, "the published experiment"))


def _target(out: Path) -> Path:
    """The checkpoint's path. Raises `UserError` where it exists or would be another kind of file."""
    target = out if out.suffix and not out.is_dir() else out / "imported.safetensors"
    if target.suffix != ".safetensors":
        fix = "name a file that ends in .safetensors, or a folder"
        raise UserError("a checkpoint is written as .safetensors alone", where=str(target), fix=fix)
    if target.exists():
        raise UserError("exists already", where=str(target), fix="name another file with --out")
    return target
