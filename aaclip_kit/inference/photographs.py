"""A folder of photographs of one object, all good or all bad, looked through before anything is made of it."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from PIL.Image import Image

from ..contracts.data import DataSet, Domain, Sample
from ..contracts.errors import UserError, UserErrors, in_short
from ..data.checks import MOST_SHOWN, previews
from ..data.decoded import Decoded
from ..data.manifests import list_images
from ..data.scan import DatasetScan, FileFacts, scan_dataset
from ..data.shared_pictures import first_pairs, near_copies

_EXTREMES: Final = 16
"""Grey levels from black, and from white, that a mask holds nothing but."""

_MOST_BETWEEN: Final = 0.001
"""Share of a mask's pixels between them: a JPEG's edges are not sharp."""


@dataclass(frozen=True)
class Photographs:
    """The sound images of a folder, a picture that is there twice once, what reads them, and remarks."""

    folder: Path
    data: DataSet
    facts: tuple[FileFacts, ...]
    decoded: Decoded
    notes: tuple[str, ...]

    @property
    def size_of(self) -> dict[Sample, tuple[int, int]]:
        """Width and height of each image."""
        return {sample: facts.size for sample, facts in zip(self.data.samples, self.facts, strict=True)}

    @cached_property
    def parts(self) -> DataSet:
        """What is scored: the images, or the tiles that `decoded` cuts them into, those of one after another."""
        return self.decoded.cut(self.data, [facts.size for facts in self.facts])

    @property
    def pixels(self) -> dict[str, Path]:
        """Each image by the checksum of its pixels."""
        return {facts.pixels: sample.image for sample, facts in zip(self.data.samples, self.facts, strict=True)}

    @cached_property
    def _scan(self) -> DatasetScan:
        return DatasetScan(self.data, self.facts)

    def look_alike(self, other: "Photographs") -> list[str]:
        """Remark on pictures that look like copies of the other folder's, or, in the same folder, of one another."""
        if not (near := near_copies(self._scan, other._scan)):
            return []
        whose = "others" if other is self else f"those of {self.folder}"
        text = f"{len(near)} images look like copies of {whose}, saved anew, resized or cropped: {first_pairs(near)}"
        return [f"{text}; each makes its like too normal: keep one of them"]

    def check_several(self) -> None:
        """Raise `UserError` for a single image."""
        if len(self.facts) < 2:
            problem = "holds one photograph, and a threshold is chosen by how much good parts differ"
            raise UserError(problem, where=str(self.folder), fix="give more photographs of good parts, fifty or so")

    def check_apart(self, other: "Photographs") -> None:
        """Raise `UserError` where a picture is in the other folder too."""
        if both := [path for pixels, path in self.pixels.items() if pixels in other.pixels]:
            problem = f"{len(both)} of its pictures are in {other.folder} too; the first is {both[0]}"
            raise UserError(problem, where=str(self.folder), fix="keep each picture in one of the two folders")


def read_photographs(
    folder: Path,
    label: int,
    *,
    class_name: str,
    real_name: str,
    domain: Domain,
    size: int,
    decoded: Decoded,
    before_each: Callable[[], None] = lambda: None,
) -> Photographs:
    """Read every image below a folder, as `aakit predict` does; label 1 is bad.

    `decoded` is what reads them, at the model's `size`. `before_each` is called for each image, by several threads.
    Raises `UserError` for what is no folder or holds no image, images that cannot be used, and masks among them.
    """
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "there is no such folder"
        raise UserError(problem, where=str(folder), fix="name a folder of photographs")
    listed, faults, notes = list_images([folder])
    samples = tuple(Sample(item.image, class_name, 1 if label else 0) for item in listed)
    masks = list[Path]()

    def hold(image: Path, picture: Image) -> None:
        before_each()
        decoded.hold(image, picture, size)
        if _is_mask(picture):
            masks.append(image)

    scan = scan_dataset(DataSet(samples, {class_name: real_name}, domain), hold, each_page=True)
    if found := [*faults, *scan.faults]:
        raise UserErrors(found[:MOST_SHOWN])
    if masks:
        problem = f"{len(masks)} of its {len(samples)} images are of two tones alone, as masks are: "
        fix = "take them out; teaching needs photographs, and no masks"
        raise UserError(problem + in_short(sorted(map(str, masks)), 3), where=str(folder), fix=fix)
    kept = scan.without_copies()
    copies = len(scan.facts) - len(kept.facts)
    said = [f"{copies} of {len(scan.facts)} images are copies of others and are left out"] if copies else []
    said += [*previews(scan.pairs), *_sizes(kept.facts), *_folders(samples, folder, label)]
    return Photographs(folder, kept.data, kept.facts, decoded, (*notes, *said))


def _is_mask(picture: Image) -> bool:
    """Whether it is black and white, or of two tones: masks are also stored as 0 and 1."""
    counts = picture.convert("L").histogram()
    if sum(map(bool, counts)) == 2:
        return True
    between = sum(counts[_EXTREMES : 256 - _EXTREMES])
    return between <= _MOST_BETWEEN * sum(counts) and min(sum(counts[:_EXTREMES]), sum(counts[-_EXTREMES:])) > 0


def _folders(samples: Iterable[Sample], folder: Path, label: int) -> list[str]:
    """Say where images lie in several folders, since one of them may hold others, as in published data sets."""
    held = Counter(str(sample.image.parent.relative_to(folder)) for sample in samples)
    if len(held) == 1:
        return []
    shown = in_short((f"{count} in {place}" for place, count in held.most_common()), 4)
    return [f"they lie in {len(held)} folders ({shown}), and all are taken as {'bad' if label else 'good'}"]


def _sizes(facts: Iterable[FileFacts]) -> list[str]:
    """Say where images have several shapes: all are squeezed into one, and look unlike one another."""
    shapes = Counter(one.size for one in facts)
    if len({round(width / height, 1) for width, height in shapes}) == 1:
        return []
    shown = in_short((f"{count} of {width} x {height}" for (width, height), count in shapes.most_common()), 3)
    return [f"the images have several shapes ({shown}), and all are squeezed into a square: give one kind of view"]
