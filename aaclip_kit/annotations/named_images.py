"""The images that annotations name, found in a folder; names lead nowhere else, whatever stands in them."""

from pathlib import Path, PurePosixPath
from typing import Final
from unicodedata import normalize

from ..contracts.errors import UserError, UserErrors, in_short
from ..data.find_files import passed_over, search_folder

BY_END: Final = "images are found by the end of the names that the file gives them"


def search_files(folder: Path, ending: str) -> list[Path]:
    """Files of one ending below a folder, to any depth, without following linked folders. Raises `UserError`."""
    found = search_folder(folder)
    if found.faults:
        raise UserErrors(found.faults)
    return [path for reason, path in found.left_out if reason == ending]


class NamedImages:
    """Images below a folder, by the names that others have for them."""

    def __init__(self, folder: Path) -> None:
        """Search the folder. Raises `UserError` where it cannot be read or holds no image."""
        if not folder.is_dir():
            raise UserError("is no folder", where=str(folder), fix="name the folder of the images with --images")
        found = search_folder(folder)
        if found.faults:
            raise UserErrors(found.faults)
        if not found.images:
            fix = "; ".join(["name the folder of the images with --images", *passed_over(found.left_out)])
            raise UserError("there is no image in this folder", where=str(folder), fix=fix)
        self.folder, self.images = folder, found.images
        self._named: dict[str, list[Path]] = {}
        for image in found.images:
            path = PurePosixPath(image.relative_to(folder).as_posix())
            for key in (path.name, f"{path.with_suffix('').name}/"):  # no name ends in a slash
                self._named.setdefault(_key(key), []).append(image)

    def find(self, names: tuple[str, ...], where: str, *, without_ending: bool) -> tuple[Path, bool]:
        """The image that is called so, and whether by its whole path. Raises `UserError` for none or several.

        A name that is no path below the folder, such as an address on another machine, is that of the image whose path
        has most of its last parts.
        """
        several: list[Path] = []
        for name in names:
            parts = [part for part in _key(name.replace("\\", "/")).split("/") if part not in ("", ".")]
            best, most = self._nearest(parts, without_ending) if parts else ([], 0)
            if len(best) == 1:
                is_whole = len(parts) == most == len(best[0].relative_to(self.folder).parts)
                return best[0], is_whole and name == names[0]
            several = several or best
        if several:
            fix = "name a folder with --images in which it is but one of them"
            raise UserError(f"{names[0]!r} may be any of {in_short(several)}", where=where, fix=fix)
        fix = "put it below the folder of --images, or name another folder with --images"
        raise UserError(f"there is no image {names[0]!r} in {self.folder}", where=where, fix=fix)

    def _nearest(self, parts: list[str], without_ending: bool) -> tuple[list[Path], int]:
        """The images of whose paths the most last parts are these, and how many those are."""
        likely = self._named.get(parts[-1] + "/" if without_ending else parts[-1], [])
        counts = [self._agreement(parts, image, without_ending) for image in likely]
        most = max(counts, default=0)
        return [image for image, count in zip(likely, counts, strict=True) if count == most], most

    def _agreement(self, parts: list[str], image: Path, without_ending: bool) -> int:
        """How many last parts of two paths are the same."""
        path = image.relative_to(self.folder)
        mine = [_key(part) for part in (path.with_suffix("") if without_ending else path).parts]
        count = 0
        for one, other in zip(reversed(parts), reversed(mine), strict=False):
            if one != other:
                break
            count += 1
        return count


def _key(name: str) -> str:
    """Some systems take letters apart, and others do not."""
    return normalize("NFC", name)
