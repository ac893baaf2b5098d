"""The data set `folder`, own images in the MVTec AD layout; and the reader of image folders in all known layouts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from aaclip_kit import (
    DataSet,
    Domain,
    Options,
    Register,
    Sample,
    UserError,
    UserErrors,
    hookimpl,
    is_image_file,
    nearest_hint,
)


@dataclass(frozen=True)
class Layout:
    """Folders below that of a class. `{defect}` stands for each folder but the normal one, and for the same name."""

    normal: str | None
    anomalous: str
    masks: str
    mask_stems: tuple[str, ...] = ("{}",)
    """Names that the mask of an image may have, without suffix; {} is the image's own."""
    class_folders: bool = True
    """Whether the root holds a folder for each class; otherwise it is that of the only class."""

    def __str__(self) -> str:
        folders = [path for path in (self.normal, self.anomalous, self.masks) if path]
        above = "CLASS/" if self.class_folders else ""
        return ", ".join(f"{above}{path}".replace("{defect}", "DEFECT") for path in folders)


LAYOUTS: dict[str, Layout] = {
    "mvtec": Layout("test/good", "test/{defect}", "ground_truth/{defect}", ("{}_mask", "{}")),
    "visa": Layout("Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly"),
    "btad": Layout("test/ok", "test/ko", "ground_truth/ko"),
    "bmad": Layout("test/good/img", "test/Ungood/img", "test/Ungood/label", class_folders=False),
    "polyp": Layout(None, "images", "masks", class_folders=False),
}
"""Layouts by name."""


@dataclass
class _Class:
    """What one class's folder holds; `others` are files that do not end as images do."""

    name: str
    folder: Path
    samples: list[Sample] = field(default_factory=list)
    faults: list[UserError] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def read_classes(
    folders: Mapping[str, Path],
    layout: Layout,
    real_names: Mapping[str, str],
    domain: Domain = "industrial",
    name: str | None = None,
) -> DataSet:
    """Samples of the classes in these folders, in the order of the classes, then sorted by defect and name.

    Hidden files are ignored; others that are no images are told of in the notes. Where a class has a folder of masks,
    an anomalous image without one is a fault of the data set; where it has none, its images have no masks. Raises
    `UserErrors` for classes without images.
    """
    classes = [_read_class(class_name, folder, layout) for class_name, folder in folders.items()]
    if empty := [_empty(one, layout) for one in classes if not (one.samples or one.faults)]:
        raise UserErrors(empty)
    samples = tuple(sample for one in classes for sample in one.samples)
    faults = tuple(fault for one in classes for fault in one.faults)
    others = [path for one in classes for path in one.others]
    notes = (f"{len(others)} files do not end as images do and are passed over, such as {others[0]}",) if others else ()
    names = {class_name: real_names.get(class_name, class_name.replace("_", " ")) for class_name in folders}
    return DataSet(samples, names, domain, name, faults, notes)


def unknown_classes(wanted: Sequence[str], known: Sequence[str], where: str) -> list[UserError]:
    """One fault for each wanted class that is not known, with the nearest name."""
    unknown = [name for name in dict.fromkeys(wanted) if name not in known]
    there = f"there are: {', '.join(known)}"
    return [UserError(f"no class '{name}'", where=where, fix=nearest_hint(name, known) + there) for name in unknown]


def listed(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden entries; nothing where it is none."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def _read_class(name: str, folder: Path, layout: Layout) -> _Class:
    read = _Class(name, folder)
    masked = (folder / layout.masks.partition("{defect}")[0]).is_dir()
    for images, masks, defect in _image_folders(folder, layout):
        by_stem = {path.stem: path for path in listed(masks) if is_image_file(path)} if masks else {}
        files = [path for path in listed(images) if path.is_file()]
        read.others += [path for path in files if not is_image_file(path)]
        for image in filter(is_image_file, files):
            stems = [stem.format(image.stem) for stem in layout.mask_stems]
            mask = next((by_stem[stem] for stem in stems if stem in by_stem), None)
            if masks and masked and mask is None:
                fix = f"put its mask at {masks / stems[0]}.png"
                read.faults.append(UserError("an anomalous image has no mask", where=str(image), fix=fix))
            else:
                read.samples.append(Sample(image, name, 1 if masks else 0, mask, defect))
    return read


def _empty(read: _Class, layout: Layout) -> UserError:
    others = f", but {len(read.others)} other files, such as {read.others[0].name}" if read.others else ""
    fix = f"images end in .png, .jpg, .bmp, .tif or .webp and lie in {layout}"
    return UserError(f"class '{read.name}' has no images{others}", where=str(read.folder), fix=fix)


def _image_folders(folder: Path, layout: Layout) -> Iterator[tuple[Path, Path | None, str | None]]:
    """Folders of images, each with that of its masks (None for normal images) and its defect where that has a name."""
    normal = folder / layout.normal if layout.normal else None
    above, by_defect, _ = layout.anomalous.partition("{defect}")
    if by_defect:
        for images in listed(folder / above):
            masks = folder / layout.masks.format(defect=images.name)
            yield (images, None, None) if images == normal else (images, masks, images.name)
        return
    if normal:
        yield normal, None, None
    yield folder / layout.anomalous, folder / layout.masks, None


Classes = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
DataPath = Annotated[Path, Field(strict=False)]


class ClassOptions(Options):
    """Which classes are read, and what they are called in the prompts."""

    classes: Classes | None = Field(None, description="classes to read; by default all")
    real_names: dict[str, str] = Field(default_factory=dict, description="class to the name that the prompts use")
    domain: Domain = Field("industrial", description="sets the scoring blur")


class FolderOptions(ClassOptions):
    """Own images in the MVTec layout: a root with classes, or one class."""

    root: DataPath = Field(
        description="folder of classes, or of one class: CLASS/test/{good,DEFECT}, CLASS/ground_truth/DEFECT"
    )


def read_folder(options: FolderOptions) -> DataSet:
    """The samples below `root`; a class's real name is its folder's with spaces for underscores, unless given.

    A class without a folder ground_truth has no masks. Raises `UserErrors`: no such folder, no class in it, an unknown
    or empty class.
    """
    root = options.root.expanduser()
    folders = _class_folders(root)
    if faults := unknown_classes([*(options.classes or ()), *options.real_names], list(folders), str(root)):
        raise UserErrors(faults)
    chosen = {name: path for name, path in folders.items() if options.classes is None or name in options.classes}
    return read_classes(chosen, LAYOUTS["mvtec"], options.real_names, options.domain)


def _class_folders(root: Path) -> dict[str, Path]:
    """Return the class folders by name, sorted. Raises `UserError` where there is none."""
    if not root.is_dir():
        raise UserError("there is no such folder", where=str(root), fix="correct `root`, or put the data there")
    if (root / "test").is_dir():
        return {root.resolve().name: root}
    folders = {path.name: path for path in listed(root) if (path / "test").is_dir()}
    if not folders:
        fix = "a class is a folder with test/good, test/DEFECT and, for masks, ground_truth/DEFECT"
        raise UserError("no class in this folder", where=str(root), fix=fix)
    return folders


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `folder`."""
    register("folder", read_folder, FolderOptions)
