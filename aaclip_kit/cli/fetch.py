"""`aakit data fetch`: a public data set from its publishers, its licence first."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Argument, Option

from ..contracts.data import DataOrigin, DataSet
from ..contracts.errors import UserError, unknown
from ..experiment import check_data_table
from ..plugin_host.discovery import discover
from ..plugin_host.registry import Registry
from .terminal import PlainConsole, say

if TYPE_CHECKING:
    from ..downloads.download import Progress


def fetch(
    name: str = Argument(help="Public data set: mvtec, visa, btad, ...; aakit list-plugins has all."),
    out: Path | None = Option(None, "--out", help="New folder for the data; by default data/NAME."),
    accept_licence: bool = Option(False, "--accept-licence", help="You have read the licence and keep to it."),
    url: str | None = Option(None, "--url", help="Address of the archive, where none that lasts is known."),
    archive: Path | None = Option(None, "--archive", help="Archive that was fetched by hand; nothing is downloaded."),
    sha256: str | None = Option(None, "--sha256", help="SHA-256 that the archive must have, not the known one."),
) -> None:
    """Fetch a public data set: licence, download that goes on where it broke, checksum, safe unpacking, its split."""
    from ..data.fetch import Source
    from ..data.fetch import fetch as fetch_data

    registry = discover()
    origin = _origin(name, registry)
    say(f"data set    {origin.title}, {origin.page}")
    say(f"licence     {origin.licence or 'not known here: read it on that page'}")
    if not accept_licence:
        fix = "read it on the page, and if you keep to it, give the command again with --accept-licence"
        raise UserError("its licence has not been accepted", where=name, fix=fix)
    source = Source(None if archive else url or origin.url, archive, _sha256(sha256) or origin.sha256)
    if source.url is None and archive is None:
        fix = f"look at {origin.page}, and give the address with --url, or what you fetched by hand with --archive"
        raise UserError("no address of its archive is known that lasts", where=name, fix=fix)
    if archive is not None and not archive.is_file():
        raise UserError("there is no such file", where=str(archive), fix="give the archive that you have fetched")

    def read(root: Path) -> DataSet:
        chosen = check_data_table({"use": name, "root": str(root)}, registry, name)
        data: DataSet = chosen.component.build(chosen.options)
        return data

    target = out or Path("data") / name
    with _progress() as progress:
        fetched = fetch_data(name, origin, source, target, read, progress)
    known = "as it should be" if source.sha256 else "which nothing here can be compared with: keep it for --sha256"
    say(f"sha256      {fetched.sha256}, {known}")
    anomalous = sum(sample.label for sample in fetched.data.samples)
    say(f"images      {len(fetched.data.samples) - anomalous:,} normal and {anomalous:,} anomalous")
    if fetched.data.not_comparable:
        say(f"note        not comparable with published figures, because {fetched.data.not_comparable}")
    for part, rows in fetched.parts.items():
        say(f"split       {Path(origin.split or '').stem}_{part}.jsonl: {len(rows):,} images, for data set manifest")
    say(f"wrote {target}; use it as [data.test] use = '{name}', root = '{target}'")


def _origin(name: str, registry: Registry) -> DataOrigin:
    """Where a data set is from. Raises `UserError` for one that nobody publishes, with those that can be fetched."""
    origins = _origins(registry)
    if name in origins:
        return origins[name]
    if name not in registry.names("data-set"):
        if registry.failures or ("data-set", name) in registry.clashes:
            registry.get("data-set", name)  # says what did not load, or which two have it
        raise unknown(name, "public data set", list(origins))
    component = registry.get("data-set", name)
    problem = f"data set '{name}' has no publishers that it could be fetched from"
    raise UserError(problem, where=str(component.plugin), fix=f"name a public one: {', '.join(origins)}")


def _origins(registry: Registry) -> dict[str, DataOrigin]:
    """The public data sets by name."""
    stated = {name: registry.get("data-set", name).stated("origin") for name in registry.names("data-set")}
    return {name: one for name, one in stated.items() if isinstance(one, DataOrigin)}


def licences(registry: Registry) -> dict[str, str]:
    """Licences of the public data sets by name, as far as they are known."""
    return {name: one.licence for name, one in _origins(registry).items() if one.licence}


def _sha256(given: str | None) -> str | None:
    """The digits in lower case. Raises `UserError` for what is no SHA-256."""
    if given is not None and not (len(given) == 64 and set(given.lower()) <= set("0123456789abcdef")):
        raise UserError(f"{given!r} is no SHA-256", where="--sha256", fix="give its 64 hexadecimal digits")
    return None if given is None else given.lower()


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Show how far a download is, on a terminal alone."""
    from rich import progress

    columns = progress.TextColumn("fetched    "), progress.BarColumn(), progress.DownloadColumn()
    console, there = PlainConsole(stderr=True), sys.stderr.isatty()
    with progress.Progress(*columns, console=console, transient=True, disable=not there) as bar:
        task = bar.add_task("", total=None)
        yield lambda there, of: bar.update(task, completed=there, total=of)
