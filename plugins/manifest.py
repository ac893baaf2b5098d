"""The data set `manifest`: own images listed in a file, one a row, as JSON lines or CSV, each row checked."""

from collections.abc import Sequence
from contextlib import suppress
from os.path import normpath
from pathlib import Path

from pydantic import Field

from aaclip_kit import DataSet, Domain, ListRow, Register, Sample, UserError, UserErrors, hookimpl, read_list

from .folder import ClassOptions, DataPath, unknown_classes


class ManifestOptions(ClassOptions):
    """Images listed as JSON lines, the published form, or as CSV."""

    manifest: DataPath = Field(
        description='JSON lines, or CSV where it ends in .csv, with "image_path", "label" (0 or 1), "class_name" and, '
        'where anomalous and there is one, "mask_path"; "ignore" may name a value of the mask that is left out'
    )
    root: DataPath | None = Field(
        None, description="folder that the paths start from and may not leave; by default the manifest's own"
    )


def read_manifest(options: ManifestOptions) -> DataSet:
    """The manifest's samples; faulty rows are faults of the data set. Raises `UserError` as `read_rows` does."""
    file = options.manifest.expanduser()
    root = options.root.expanduser() if options.root else file.parent
    return read_rows(file, root, options.classes, options.real_names, options.domain)


_Entries = list[tuple[ListRow, Sample]]


def read_rows(
    file: Path,
    root: Path,
    classes: Sequence[str] | None,
    real_names: dict[str, str],
    domain: Domain = "industrial",
    name: str | None = None,
) -> DataSet:
    """The samples of a manifest, sorted by class and image; `file` is CSV where it ends in .csv, else JSON lines.

    Each row that cannot be used is a fault of the data set, with its line: a key missing or wrong, a file that is not
    there or lies outside `root`, the image of an earlier row, an anomalous image without a mask where its class has
    masks. Rows of classes that are not read are not checked. Raises `UserError` for a file that cannot be read or
    names no image, and for unknown classes.
    """
    known: set[str] = set()

    def read(row: ListRow) -> tuple[ListRow, Sample] | None:
        row.check_whole("image_path", root)
        fix = 'name the image\'s class, such as "candle"'
        if (class_name := row.text("class_name", fix)) is None:
            raise row.fault('"class_name" is missing', fix)
        known.add(class_name)
        return (row, _sample(row, class_name, root)) if classes is None or class_name in classes else None

    found, faults = read_list(file, ("image_path", "label", "class_name"), read)
    if unknown := unknown_classes([*(classes or ()), *real_names], sorted(known), str(file)):
        raise UserErrors([*unknown, *faults])
    entries, repeated = _without_repeated([entry for entry in found if entry])
    entries, bare = _without_bare(entries)
    samples = sorted((sample for _, sample in entries), key=lambda sample: (sample.class_name, str(sample.image)))
    chosen = sorted(known if classes is None else known.intersection(classes))
    names = {class_name: real_names.get(class_name, class_name.replace("_", " ")) for class_name in chosen}
    return DataSet(tuple(samples), names, domain, name, (*faults, *repeated, *bare))


def _sample(row: ListRow, class_name: str, root: Path) -> Sample:
    label, fix = row.number("label"), "write 0 for a normal image, 1 for an anomalous one"
    if label is None:
        raise row.fault('"label" is missing', fix)
    if isinstance(label, bool) or label not in (0, 1):
        raise row.wrong("label", "0 or 1", fix)
    image, mask = row.file("image_path", root), None
    if row.text("mask_path") is not None:
        # A normal image needs none, and many lists name a file for it that is not there.
        with suppress(*(UserError,) if label == 0 else ()):
            mask = row.file("mask_path", root)
    return Sample(image, class_name, 1 if label else 0, mask, ignore=_ignored(row))


def _ignored(row: ListRow) -> int | None:
    """The value of the mask that metrics and losses leave out, None for none."""
    if (value := row.number("ignore")) is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 65535 or value % 1:
        raise row.wrong("ignore", "a whole number from 1 to 65535", "such as 255, or none")
    return int(value)


def _without_repeated(entries: _Entries) -> tuple[_Entries, list[UserError]]:
    """Rows whose image no earlier row names, and a fault for each of the others.

    An image is what its path says: two links to one content are two photographs.
    """
    first: dict[str, ListRow] = {}
    good, faults = [], []
    for row, sample in entries:
        earlier = first.setdefault(normpath(sample.image.absolute()), row)
        if earlier is row:
            good.append((row, sample))
        else:
            problem = f'"image_path": {sample.image} has a row already, {earlier.where.rpartition(", ")[2]}'
            faults.append(row.fault(problem, "keep one of the two rows"))
    return good, faults


def _without_bare(entries: _Entries) -> tuple[_Entries, list[UserError]]:
    """Rows but for anomalous images without a mask where others of their class have one; a fault for each of these."""
    masked = {sample.class_name for _, sample in entries if sample.mask}
    fix = "name its mask, or leave out those of the whole class for image-level results only"
    good, faults = [], []
    for row, sample in entries:
        if sample.label and sample.mask is None and sample.class_name in masked:
            faults.append(row.fault('"mask_path" is missing, and other images of its class have one', fix))
        else:
            good.append((row, sample))
    return good, faults


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `manifest`."""
    register("manifest", read_manifest, ManifestOptions)
