"""`aakit data`: look at data sets, list them, make them of annotations, and fetch public ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Column
from typer import Argument, Option, Typer

from ..contracts.data import DataSet
from ..contracts.errors import UserError, UserErrors
from ..experiment import ComponentConfig, check_data_table, load
from ..experiment.overrides import checked
from ..plugin_host.discovery import discover
from .fetch import fetch
from .import_masks import import_masks
from .terminal import PlainConsole, numeric, plain_table, say, say_lines

if TYPE_CHECKING:
    from ..data.roles import Role

data = Typer(
    help="Look at data sets, list them, make them of annotations, and fetch public ones.",
    epilog="Example: aakit data check my_images",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LAYOUT_HELP = "Data set that reads it: folder (MVTec layout), mvtec, visa, ...; by default "
SET_HELP = "Set a key: data.test.root=... of an experiment, classes=[a, b] of a folder or manifest; may be repeated."
IMAGES = "images"
"""The layout of images without labels."""


@data.command(epilog="Example: aakit data check my_images --layout folder")
def check(
    target: Path = Argument(help="Experiment file, folder of images, or manifest."),
    layout: str | None = Option(None, "--layout", help=LAYOUT_HELP + "folder, or manifest for a file."),
    overrides: list[str] = Option([], "--set", help=SET_HELP),
    as_json: bool = Option(False, "--json", help="Print JSON, with every fault."),
) -> None:
    """Read every file; show classes, counts, sizes, masks, warnings, and all faults at once (exit code 2)."""
    from ..data.load_data import all_faults

    roles, between = _read(target, layout, overrides)
    if as_json:
        say_lines(json.dumps(_as_record(roles, between), indent=2))
    else:
        _show(roles)
    if faults := all_faults(roles, between):
        raise UserErrors(faults)


@data.command(epilog="Example: aakit data manifest photos --layout images --out photos.jsonl")
def manifest(
    root: Path = Argument(help="Folder of images."),
    out: Path = Option(..., "--out", help="File to write: JSON lines (.jsonl) or CSV (.csv)."),
    layout: str = Option("folder", "--layout", help=LAYOUT_HELP + f"folder; {IMAGES}: any images, no labels."),
    overrides: list[str] = Option([], "--set", help="Set a key of the data set: classes=[a, b]; may be repeated."),
) -> None:
    """Write a list of a folder's images, in the published form. Decodes nothing, overwrites nothing."""
    from ..data.manifests import check_target, labelled_rows, list_images, prefix_of, unlabelled_rows, write_manifest

    check_target(out)
    prefix = prefix_of(out, root)
    if layout == IMAGES:
        images, faults, notes = list_images([root])
        if faults:
            raise UserErrors(faults)
        rows = unlabelled_rows([item.image for item in images], root, prefix or Path())
    else:
        data = _built(_alone(root, layout, overrides))
        rows, notes = labelled_rows(data, root, prefix or Path()), data.notes
    write_manifest(rows, out)
    for note in notes:
        say(note)
    start = "" if prefix is not None else f"; its paths start from {root}"
    say(f"wrote {out}: {len(rows)} images{start}")


data.command("import", epilog="Example: aakit data import coco.json --images photos --out parts --class lid")(
    import_masks
)
data.command("fetch", epilog="Example: aakit data fetch visa --accept-licence --out data/visa")(fetch)


def _read(target: Path, layout: str | None, overrides: Sequence[str]) -> "tuple[list[Role], list[UserError]]":
    """Every role of an experiment, or the one data set that the target is, and faults that lie between roles."""
    from ..data.load_data import read_role, read_roles

    if target.suffix == ".toml":
        return read_roles(load(target, discover(), overrides))
    name = layout or ("folder" if target.is_dir() else "manifest")
    return [read_role(name, [_alone(target, name, overrides)], seed=0)], []


def _alone(target: Path, layout: str, overrides: Sequence[str]) -> ComponentConfig:
    """The data set that a folder or a manifest is."""
    if not target.exists():
        fix = "name an experiment file, a folder of images or a manifest"
        raise UserError("there is no such file or folder", where=str(target), fix=fix)
    table = {"use": layout, "root" if target.is_dir() else "manifest": str(target)}
    registry = discover()
    return checked(table, overrides, lambda table: check_data_table(table, registry, str(target)))


def _built(chosen: ComponentConfig) -> DataSet:
    """The data set, if nothing in it is faulty or `on_bad_image` says to go on without."""
    from ..data.checks import shown

    data: DataSet = chosen.component.build(chosen.options)
    if data.faults and chosen.selection.on_bad_image == "error":
        raise UserErrors(shown(data.faults, chosen.component.name))
    if data.not_comparable:
        say(f"note: not comparable with published figures, because {data.not_comparable}")
    for fault in data.faults:
        say(f"left out: {fault.where}: {fault.problem}")
    return data


def _as_record(roles: "Sequence[Role]", between: Sequence[UserError]) -> dict[str, Any]:
    """Summary, warnings and faults of each role, and the faults that lie between roles."""
    from ..data.scan import summary

    records = {
        role.name: {
            **(summary(role.scan) if role.scan else {}),
            **role.record,
            "warnings": role.notes,
            "faults": _fault_records(role.faults),
        }
        for role in roles
    }
    return {"data": records, "faults": _fault_records(between)}


def _show(roles: "Sequence[Role]") -> None:
    """Print a table and the warnings of each role; its faults are left to the command's end."""
    from ..data.scan import summary

    console = PlainConsole()
    for role in roles:
        for table in role.tables:
            if table.scan and table.scan.facts:
                name = role.name if len(role.tables) == 1 else f"{role.name}, {table.label}"
                _show_images(console, name, summary(table.scan))
        for note in role.notes:
            console.print_line(f"warning    {note}")
        count = len(role.faults)
        console.print_line(f"{role.name}: {count or 'no'} fault{'' if count == 1 else 's'}")
        console.print_line("")


def _show_images(console: PlainConsole, name: str, images: dict[str, Any]) -> None:
    title = f"{name}: {images['name'] or 'own data'}, {images['domain']}, {images['count']} images"
    console.print_line(title, style="bold")
    counted = ("normal", "anomalous", "masks")
    names = (Column(heading, overflow="fold") for heading in ("class", "real name"))
    rows = (
        (name, of["real_name"] or "", *(str(of[key]) for key in counted), _sizes(of["sizes"]), _defects(of["defects"]))
        for name, of in images["classes"].items()
    )
    console.print(plain_table(*names, *numeric(counted), "pixels", "defects", rows=rows))


def _sizes(sizes: list[dict[str, int]]) -> str:
    """The only size, or the smallest and the largest by area and how many there are."""
    texts = [f"{size['width']} x {size['height']}" for size in sizes]
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}, {len(texts)} sizes"


def _defects(defects: dict[str, int]) -> str:
    """A few with their counts, or how many there are; the JSON has all."""
    return f"{len(defects)} kinds" if len(defects) > 3 else ", ".join(f"{name} {n}" for name, n in defects.items())


def _fault_records(faults: Sequence[UserError]) -> list[dict[str, str | None]]:
    return [{"where": fault.where, "problem": fault.problem, "fix": fault.fix} for fault in faults]
