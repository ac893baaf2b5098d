"""The data set `folder`, own images in the MVTec AD layout; and the reader of image folders in all known layouts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import normpath
from pathlib import Path
from typing import Annotated, Literal
from unicodedata import normalize

from pydantic import Field, field_validator

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
    passed_over,
    search_folder,
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


_OTHER_SPLITS = ("train", "valid", "validation")
"""Folders of published data sets that nobody takes for those of the test images."""

LAYOUTS: dict[str, Layout] = {
    "mvtec": Layout("test/good", "test/{defect}", "ground_truth/{defect}", ("{}_mask", "{}")),
    "visa": Layout("Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly"),
    "btad": Layout("test/ok", "test/ko", "ground_truth/ko"),
    "bmad": Layout("test/good/img", "test/Ungood/img", "test/Ungood/label", class_folders=False),
    "polyp": Layout(None, "images", "masks", class_folders=False),
}
"""Layouts by name."""
_TRAINING = Layout("train/good", "train/{defect}", "ground_truth/{defect}", ("{}_mask", "{}"))


@dataclass
class _Class:
    """What one class's folder holds; `left_out` are images that are not read and files that are none, with the reason.

    `hint` says where normal images lie, if there are none.
    """

    name: str
    folder: Path
    samples: list[Sample] = field(default_factory=list)
    faults: list[UserError] = field(default_factory=list)
    left_out: list[tuple[str, Path]] = field(default_factory=list)
    hint: str = ""


def read_classes(
    folders: Mapping[str, Path],
    layout: Layout,
    real_names: Mapping[str, str],
    domain: Domain = "industrial",
    name: str | None = None,
) -> DataSet:
    """Samples of the classes in these folders, in the order of the classes, then sorted by defect and name.

    The notes tell of what is passed over. Where a class has a folder of masks, an anomalous image without one is a
    fault of the data set, as is a folder that may not be read; where it has none, its images have no masks. Raises
    `UserErrors` for classes without images.
    """
    classes = [_read_class(class_name, folder, layout) for class_name, folder in folders.items()]
    if empty := [_empty(one, layout) for one in classes if not (one.samples or one.faults)]:
        raise UserErrors(empty)
    samples = tuple(sample for one in classes for sample in one.samples)
    faults = tuple(fault for one in classes for fault in one.faults)
    hints = [f"class '{one.name}' has no normal images: {one.hint}" for one in classes if one.hint and one.samples]
    notes = (*hints, *passed_over(item for one in classes for item in one.left_out))
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
    bare: list[tuple[Path, Path]] = []
    known: set[Path] = set()
    for images, masks, label, defect in _image_folders(folder, layout):
        known |= {images, masks or images}
        faults = len(read.faults)
        files = _images_in(masks, read) if masks else []
        is_read = len(read.faults) == faults
        by_stem = {path.stem: path for path in reversed(files)}
        pictures = _images_in(images, read)
        own_masks = {stem.format(path.stem): path for path in pictures for stem in layout.mask_stems if stem != "{}"}
        for image in pictures:
            if image.stem in own_masks:
                read.faults.append(_among_images(image, own_masks[image.stem], masks))
                continue
            stems = [stem.format(image.stem) for stem in layout.mask_stems]
            mask = next((by_stem[stem] for stem in stems if stem in by_stem), None)
            if label and masks and masked and mask is None:
                bare += [(image, masks / f"{stems[0]}.png")] if is_read else []
            else:
                read.samples.append(Sample(image, name, label, mask, defect))
        used = {sample.mask for sample in read.samples}
        read.left_out += [("masks without an image of their own", mask) for mask in files if mask not in used]
    if layout.normal and not any(sample.label == 0 for sample in read.samples):
        above = Path(layout.normal).parent
        there = ", ".join(str(above / path.name) for path in listed(folder / above) if path.is_dir())
        read.hint = f"normal images lie in {layout.normal}; found {there or 'no folder'}"
    read.faults += [_without_mask(image, mask, read.hint) for image, mask in bare]
    read.left_out += _elsewhere(folder, layout, known)
    return read


def _images_in(folder: Path, read: _Class) -> list[Path]:
    """Images that lie right in a folder; what else it holds is noted in the class."""
    if not folder.is_dir():
        return []
    found = search_folder(folder)
    read.faults += found.faults
    deeper = [path for path in found.images if path.parent != folder]
    read.left_out += [*found.left_out, *((f"deeper than {folder.relative_to(read.folder)}", path) for path in deeper)]
    return [path for path in found.images if path.parent == folder]


def _among_images(mask: Path, image: Path, masks: Path | None) -> UserError:
    fix = f"move it into {masks}, or rename it if it is a photograph"
    return UserError(f"is named as the mask of {image.name}, and lies among the images", where=str(mask), fix=fix)


def _without_mask(image: Path, mask: Path, hint: str) -> UserError:
    several = mask.with_name(image.stem)
    fix = f"unite the masks in {several} in one, {mask}" if several.is_dir() else f"put its mask at {mask}"
    fix = f"{hint}; rename the folder of normal images, or {fix}" if hint else fix
    return UserError("an anomalous image has no mask", where=str(image), fix=fix)


def _elsewhere(folder: Path, layout: Layout, known: set[Path]) -> Iterator[tuple[str, Path]]:
    """Images below a class's folder that lie in none of these, nor among the masks or images to train on."""
    found = search_folder(folder)
    own = layout.anomalous.partition("/")[0]
    others = {*_OTHER_SPLITS, layout.masks.partition("/")[0], *(("test",) if own == "train" else ())} - {own}
    for reason, path in [*(("elsewhere", path) for path in found.images), *found.left_out]:
        inside = path.relative_to(folder).parts[0] in others or any(above in known for above in path.parents)
        if reason in ("elsewhere", "hidden") and not inside:
            yield reason, path


def _empty(read: _Class, layout: Layout) -> UserError:
    problem = "; ".join([f"class '{read.name}' has no images", *passed_over(read.left_out)])
    fix = f"images end in .png, .jpg, .bmp, .tif or .webp and lie in {layout}"
    return UserError(problem, where=str(read.folder), fix=fix)


def _image_folders(folder: Path, layout: Layout) -> Iterator[tuple[Path, Path | None, Literal[0, 1], str | None]]:
    """Folders of images, each with that of its masks, if it may have one, its label, and its defect if named."""
    normal = folder / layout.normal if layout.normal else None
    above, by_defect, _ = layout.anomalous.partition("{defect}")
    if by_defect:
        for images in listed(folder / above):
            masks = folder / layout.masks.format(defect=images.name)
            yield (images, masks, 0, None) if images == normal else (images, masks, 1, images.name)
        return
    if normal:
        yield normal, None, 0, None
    yield folder / layout.anomalous, folder / layout.masks, 1, None


Classes = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
DataPath = Annotated[Path, Field(strict=False)]


class ClassOptions(Options):
    """Which classes are read, and what they are called in the prompts."""

    classes: Classes | None = Field(None, description="classes to read; by default all")
    real_names: dict[str, str] = Field(default_factory=dict, description="class to the name that the prompts use")
    domain: Domain = Field("industrial", description="sets the scoring blur")

    @field_validator("classes")
    @classmethod
    def _composed_classes(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(map(composed, names))

    @field_validator("real_names")
    @classmethod
    def _composed_keys(cls, names: dict[str, str]) -> dict[str, str]:
        return {composed(name): real for name, real in names.items()}


def composed(name: str) -> str:
    """A class's name with its letters in one piece each: some systems take the accents off them, and others do not."""
    return normalize("NFC", name)


class FolderOptions(ClassOptions):
    """Own images in the MVTec layout: a root with classes, or one class."""

    root: DataPath = Field(
        description="folder of classes, or of one class: CLASS/test/{good,DEFECT}, CLASS/ground_truth/DEFECT"
    )
    part: Literal["test", "train"] = Field(
        "test", description="folder of each class that is read; train/good has the normal images of public data sets"
    )


def read_folder(options: FolderOptions) -> DataSet:
    """The samples below `root`; a class's real name is its folder's with spaces for underscores, unless given.

    A class without a folder ground_truth has no masks. Raises `UserErrors`: no such folder, no class in it, an unknown
    or empty class.
    """
    root = options.root.expanduser()
    folders, faults, left_out = _class_folders(root, options.part)
    if unknown := unknown_classes([*(options.classes or ()), *options.real_names], list(folders), str(root)):
        raise UserErrors([*unknown, *faults])
    chosen = {name: path for name, path in folders.items() if options.classes is None or name in options.classes}
    layout = LAYOUTS["mvtec"] if options.part == "test" else _TRAINING
    data = read_classes(chosen, layout, options.real_names, options.domain)
    if options.classes is not None:
        return data
    return replace(data, faults=(*faults, *data.faults), notes=(*data.notes, *passed_over(left_out)))


def _class_folders(root: Path, part: str) -> tuple[dict[str, Path], list[UserError], list[tuple[str, Path]]]:
    """Return the class folders by name, sorted, faults of those that may not be read, and what else lies there.

    Raises `UserError` where there is no class.
    """
    if not root.is_dir():
        problem = "is a file, and no folder" if root.is_file() else "there is no such folder"
        raise UserError(problem, where=str(root), fix="correct `root`, or put the data there")
    if (root / part).is_dir():
        return {composed(Path(normpath(root.absolute())).name): root}, [], []
    folders: dict[str, Path] = {}
    faults: list[UserError] = []
    left_out: list[tuple[str, Path]] = []
    for path in listed(root):
        try:
            if not (path / part).is_dir():
                if path.is_dir() or is_image_file(path):
                    left_out.append(
                        (f"folders without a folder {part}" if path.is_dir() else "beside the classes", path)
                    )
            elif (same := folders.setdefault(composed(path.name), path)) != path:
                problem = f"has the same name as {same}, in letters that are put together in another way"
                faults.append(UserError(problem, where=str(path), fix="rename one of the two"))
        except OSError as error:
            # A disk's own folder, which nobody but the system may read.
            if path.name == "lost+found":
                left_out.append(("lost+found", path))
            else:
                fix = "make it readable, or leave its class out with `classes`"
                faults.append(UserError(f"cannot be read ({error.strerror})", where=str(path), fix=fix))
    if not (folders or faults):
        fix = f"a class is a folder with {part}/good, {part}/DEFECT and, for masks, ground_truth/DEFECT"
        raise UserError("; ".join(["no class in this folder", *passed_over(left_out)]), where=str(root), fix=fix)
    if not folders:
        raise UserErrors(faults)
    return folders, faults, left_out


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `folder`."""
    register("folder", read_folder, FolderOptions)
