"""Reading every file of a data set once: what is faulty, and sizes, checksums and blank masks of the rest."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ..contracts.data import DataSet, Sample
from ..contracts.errors import UserError
from .copies import Look, pixels_and_look
from .decode import Values, open_mask, open_picture
from .image_file import checksum, orientation, pages_of, passed_over_in, read_content

_WORKERS = 4
"""Images decoded at once: one of `MOST_PIXELS` takes over half a gigabyte on its way, whatever the machine's cores."""

LEAST_SIDE = 8
"""Pixels of the shorter side of the smallest image that counts as one."""


@dataclass(frozen=True)
class FileFacts:
    """What one sample's files hold: the image's size (width, height), SHA-256 of each, and what they look like.

    `pixels` is a checksum of the decoded image, `look` tells its copies from others.
    """

    size: tuple[int, int]
    image: str
    pixels: str
    look: Look = field(compare=False, repr=False)
    passed_over: int = 0
    """Previews, and maps of gain or depth, that the image's file has beside its picture."""
    mask: str | None = None
    marked: float = 0.0
    """Share of the mask's pixels that are anomalous."""
    values: Values = ()
    is_lossy: bool = False
    """Whether the mask is compressed as a JPEG is."""
    turned_apart: bool = False
    """Whether tags turn the image and its mask in different ways, or one of them alone, and both would fit."""

    @property
    def blank(self) -> bool:
        """Whether there is a mask without an anomalous pixel."""
        return self.mask is not None and not self.marked


@dataclass(frozen=True)
class Fingerprint:
    """What a data set held: counts by class and label, and a checksum of every file's content."""

    counts: dict[str, dict[str, int]]
    sha256: str
    images: dict[Path, str]
    """Checksum of each image, by its path."""
    pixels: dict[Path, str]
    """The same of what is decoded: it stays where an image is saved anew without a loss."""

    def as_record(self) -> dict[str, Any]:
        """The part that goes into the manifest."""
        count = sum(sum(labels.values()) for labels in self.counts.values())
        return {"count": count, "classes": list(self.counts), "counts": self.counts, "sha256": self.sha256}


@dataclass(frozen=True)
class DatasetScan:
    """A data set's sound samples, each with its facts, and one fault for every other one."""

    data: DataSet
    facts: tuple[FileFacts, ...]
    faults: tuple[UserError, ...] = ()

    @property
    def pairs(self) -> tuple[tuple[Sample, FileFacts], ...]:
        """Samples with their facts."""
        return tuple(zip(self.data.samples, self.facts, strict=True))

    def only(self, selected: Iterable[tuple[Sample, FileFacts]]) -> "DatasetScan":
        """The same scan of fewer samples."""
        pairs = tuple(selected)
        data = replace(self.data, samples=tuple(sample for sample, _ in pairs))
        return replace(self, data=data, facts=tuple(facts for _, facts in pairs))

    def without_copies(self) -> "DatasetScan":
        """The same with each picture once in its class: the first of those with the same pixels."""
        once: dict[tuple[str, str], tuple[Sample, FileFacts]] = {}
        for sample, facts in self.pairs:
            once.setdefault((sample.class_name, facts.pixels), (sample, facts))
        return self.only(once.values())

    def fingerprint(self) -> Fingerprint:
        """Counts and checksums; neither names nor places of the files matter to them, but their order does."""
        counts: dict[str, Counter[str]] = {}
        whole = hashlib.sha256()
        for sample, facts in self.pairs:
            counts.setdefault(sample.class_name, Counter())["anomalous" if sample.label else "normal"] += 1
            line = f"{sample.class_name} {sample.label} {facts.image} {facts.mask or '-'}"
            whole.update(line.encode(errors="surrogatepass"))
        images = {sample.image: facts.image for sample, facts in self.pairs}
        pixels = {sample.image: facts.pixels for sample, facts in self.pairs}
        return Fingerprint({name: dict(count) for name, count in counts.items()}, whole.hexdigest(), images, pixels)


OnPicture = Callable[[Path, Image], None]


def scan_dataset(data: DataSet, on_picture: OnPicture | None = None, *, each_page: bool = False) -> DatasetScan:
    """Read and decode every file once; `on_picture` is handed each sound image, from several threads.

    The faults that the data set brings along come first. With `each_page` each picture of a file that has several is a
    sample of its own, where it would be a fault otherwise.
    """
    with ThreadPoolExecutor(_WORKERS) as pool:
        read = partial(_read, on_picture=on_picture, each_page=each_page)
        results = list(chain.from_iterable(pool.map(read, data.samples)))
    faults = tuple(fault for _, fault in results if isinstance(fault, UserError))
    sound = [(_as_read(sample, facts), facts) for sample, facts in results if isinstance(facts, FileFacts)]
    return DatasetScan(data, (), (*data.faults, *faults)).only(sound)


def _as_read(sample: Sample, facts: FileFacts) -> Sample:
    """The sample with its checksums, and without the black mask of a normal image, which says nothing more."""
    if facts.mask is None:
        return replace(sample, mask=None, checksums=(facts.image,))
    return replace(sample, checksums=(facts.image, facts.mask))


def _read(sample: Sample, on_picture: OnPicture | None, each_page: bool) -> list[tuple[Sample, FileFacts | UserError]]:
    """The sample, or one for each page of its file, with what was found of it."""
    try:
        content = read_content(sample.image)
    except UserError as fault:
        return [(sample, fault)]
    pages = pages_of(sample.image, content) if each_page else [sample.image]
    samples = [replace(sample, image=page) for page in pages]
    return [(one, _facts_of(one, content, on_picture)) for one in samples]


def _facts_of(sample: Sample, content: bytes, on_picture: OnPicture | None) -> FileFacts | UserError:
    try:
        picture = open_picture(sample.image, content)
        size = picture.size
        if min(size) < LEAST_SIDE:
            problem = f"is {size[0]} x {size[1]} pixels, too small to show anything: a side needs {LEAST_SIDE}"
            raise UserError(problem, where=str(sample.image), fix="replace it or remove it")
        if on_picture is not None:
            on_picture(sample.image, picture)
        pixels, look = pixels_and_look(picture)
        facts = FileFacts(size, checksum(sample.image, content), pixels, look, passed_over_in(content))
        return facts if sample.mask is None else _with_mask(facts, sample, sample.mask, content)
    except UserError as fault:
        return fault


def _with_mask(facts: FileFacts, sample: Sample, file: Path, image: bytes) -> FileFacts:
    """The facts with those of the mask; a normal image's is all black, and none.

    Raises `UserError` for a mask that cannot be used.
    """
    content = read_content(file)
    if content == image:
        fix = "name its mask, or none"
        raise UserError("its mask is a copy of the image itself", where=str(sample.image), fix=fix)
    mask = open_mask(file, facts.size, content, ignore=sample.ignore, with_values=True)
    if sample.label == 0:
        if marked := int((mask.marks > 0).sum()):
            problem = f"is a normal image, and {marked:,} pixels of its mask {file} are anomalous"
            fix = "label it as anomalous, or give it a mask that is black, or none"
            raise UserError(problem, where=str(sample.image), fix=fix)
        return facts
    return replace(
        facts,
        mask=checksum(file, content),
        marked=float((mask.marks > 0).mean()),
        values=mask.values,
        is_lossy=mask.is_lossy,
        turned_apart=_turned_apart(orientation(image), orientation(content), facts.size),
    )


def _turned_apart(image: int, mask: int, size: tuple[int, int]) -> bool:
    fits_either_way = (image > 4) == (mask > 4) or size[0] == size[1]
    return image != mask and fits_either_way


def summary(scan: DatasetScan) -> dict[str, Any]:
    """Counts of images and classes, the checksum, and for each class its counts, masks, defects and image sizes."""
    by_class: dict[str, list[tuple[Sample, FileFacts]]] = {}
    for sample, facts in scan.pairs:
        by_class.setdefault(sample.class_name, []).append((sample, facts))
    real_names = scan.data.real_names
    return {
        "name": scan.data.name,
        "domain": scan.data.domain,
        "count": len(scan.facts),
        "sha256": scan.fingerprint().sha256,
        "classes": {name: {"real_name": real_names.get(name), **_of_class(pairs)} for name, pairs in by_class.items()},
    }


def _of_class(pairs: Sequence[tuple[Sample, FileFacts]]) -> dict[str, Any]:
    anomalous = [sample for sample, _ in pairs if sample.label]
    sizes = Counter(facts.size for _, facts in pairs)
    return {
        "normal": len(pairs) - len(anomalous),
        "anomalous": len(anomalous),
        "masks": sum(sample.mask is not None for sample in anomalous),
        "black_masks": sum(facts.blank for sample, facts in pairs if sample.label),
        "defects": dict(sorted(Counter(sample.defect for sample in anomalous if sample.defect).items())),
        "sizes": [{"width": w, "height": h, "count": sizes[w, h]} for w, h in sorted(sizes, key=lambda s: s[0] * s[1])],
    }
