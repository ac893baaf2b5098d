"""Files of weights: safetensors, and pickles as far as torch's reader of them can be trusted."""

import json
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch
from packaging.version import Version
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..contracts.errors import UserError
from .plain_file import check_plain

TRUST: Final = "AAKIT_TRUST_PICKLES"
"""The environment variable that, set to 1, says that the user trusts the makers of the pickles that are read."""

WEAKNESS: Final = "CVE-2026-24747"
"""Of torch before 2.10: a pickle can corrupt memory, and perhaps run code, though weights alone are loaded."""

_CHECKSUM: Final = "aaclip_kit_crc32"
"""The entry of a safetensors file that was written here; safetensors itself has none."""

_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod)\.")

_UNPACK = "unpack it, and give the file of weights that is in it"
_KINDS: Final = {
    b"version https://git-lfs": ("is a pointer of Git LFS, not the file itself", "fetch the file with: git lfs pull"),
    b"\x1f\x8b": ("is packed with gzip", _UNPACK),
    b"BZh": ("is packed with bzip2", _UNPACK),
    b"\xfd7zXZ": ("is packed with xz", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("is packed with zstd", _UNPACK),
    b"7z\xbc\xaf": ("is packed with 7-zip", _UNPACK),
    b"\x89HDF": ("is an HDF5 file", "give weights for torch: safetensors, or a pickle of tensors"),
    b"\x93NUMPY": ("is an array of NumPy", "give weights for torch: safetensors, or a pickle of tensors"),
    b"GGUF": ("is a GGUF file", "give weights for torch: safetensors, or a pickle of tensors"),
}
"""How files begin that are taken for weights, what they are, and what to do about it."""

_WEB_PAGE: Final = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)
_TAR: Final = slice(257, 262)

_GLOBAL = re.compile(r"Unsupported global: GLOBAL (\S+)")


def reads_safely(version: str) -> bool:
    """Whether a version of torch is without `WEAKNESS`."""
    return Version(version).release >= (2, 10)


def without_wrappers(name: str) -> str:
    """A tensor's name without what DataParallel, DistributedDataParallel and `torch.compile` put into it."""
    return _WRAPPERS.sub("", name)


def check_kind(path: Path) -> None:
    """Raise `UserError` with what helps for a file that, by its first bytes, holds no weights or those of another name.

    So for what is missing or no plain file. What is merely damaged passes: its reader says so.
    """
    check_plain(path, fix="give a file of weights")
    try:
        with path.open("rb") as file:
            head, members = file.read(512), list[str]()
    except OSError as error:
        fix = "make it readable, or give another file of weights"
        raise UserError(f"cannot be read ({error.strerror or error})", where=str(path), fix=fix) from None
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.namelist()
        except Exception:  # a damaged archive can raise nearly anything
            return
    if found := _kind(head, members, path.suffix == ".safetensors"):
        what, fix = found
        raise UserError(f"cannot be read: it {what}", where=str(path), fix=fix)


def _kind(head: bytes, members: Sequence[str], named_safetensors: bool) -> tuple[str, str] | None:
    if head[6:9] == b"\0\0{":  # the length of a header, which can begin as anything does
        fix = "rename it, so that it ends in .safetensors"
        return None if named_safetensors else ("is safetensors by its content, and not by its name", fix)
    begins = next((said for start, said in _KINDS.items() if head.startswith(start)), None)
    if begins or not head:
        return begins or ("is empty", "fetch it again, or restore it; a download may have been cut short")
    if _WEB_PAGE.match(head.removeprefix(b"\xef\xbb\xbf")):
        fix = "fetch the file itself, not the page about it: on Hugging Face with /resolve/ in place of /blob/"
        return "is a web page", fix
    if head.lstrip()[:1] in (b"{", b"["):
        return "is text in JSON, such as an index or a configuration", "give the file of weights that lies beside it"
    if head[_TAR] == b"ustar":
        return "is a tar archive", _UNPACK
    if members:
        ends = {name.rpartition("/")[2] for name in members}
        if "constants.pkl" in ends:
            fix = "where you trust it, save its weights alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)"
            return "is a program (TorchScript), refused, since loading it could run its code", fix
        if "data.pkl" not in ends:
            return "is a zip archive", _UNPACK
    is_pickle = head.startswith((b"PK", b"\x80"))
    if named_safetensors:
        named = "is a pickle of torch, and named .safetensors", "rename it, so that it ends in .pth"
        return named if is_pickle else None
    return None if is_pickle else ("is no file of weights", "give safetensors, or a pickle that torch.save wrote")


def read_weights(path: Path) -> Any:
    """What a file of weights holds, on the CPU: a `.safetensors` file's tensors by name, a pickle's in its containers.

    Of a pickle tensors in plain containers are loaded and nothing else; no code is run. Raises `UserError` for a file
    that is damaged or holds anything else; and for every pickle where torch is older than 2.10, whose reader a hostile
    file can overcome, unless the environment variable AAKIT_TRUST_PICKLES is 1.
    """
    check_kind(path)
    if path.suffix != ".safetensors":
        return _read_pickle(path)
    try:
        return read_safetensors(path)[0]
    except Exception as error:  # a damaged file can raise nearly anything
        raise _no_weights(path, str(error)) from None


def as_safetensors(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """Content of a file of contiguous CPU tensors, with texts about them and a checksum of both.

    The same tensors and texts make the same bytes.
    """
    content = save(dict(tensors), {**about, _CHECKSUM: _checksum(tensors, about)})
    end = 8 + int.from_bytes(content[:8], "little")
    # safetensors writes the texts in another order each time.
    head = json.loads(content[8:end])
    head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
    ordered = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    ordered += b" " * (-len(ordered) % 8)
    return b"".join((len(ordered).to_bytes(8, "little"), ordered, memoryview(content)[end:]))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a file, and the texts about them. Raises ValueError where its checksum, if it has one, is another's.

    Of a damaged file it may raise nearly anything.
    """
    with safe_open(path, framework="pt") as file:
        about: dict[str, str] = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    stored = about.pop(_CHECKSUM, None)
    if stored is not None and stored != _checksum(tensors, about):
        raise ValueError("what it holds is not what was written: its checksum is another")
    return tensors, about


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """CRC-32 of names, texts and the tensors' bytes, eight hexadecimal digits."""
    found = zlib.crc32(repr(sorted(about.items())).encode("utf-8", "surrogatepass"))
    for name, value in sorted(tensors.items()):
        found = zlib.crc32(repr((name, value.dtype, tuple(value.shape))).encode("utf-8", "surrogatepass"), found)
        found = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def pickled(content: Mapping[str, Any]) -> bytes:
    """A pickle that `read_weights` reads."""
    file = BytesIO()
    torch.save(dict(content), file)
    return file.getvalue()


def _read_pickle(path: Path) -> Any:
    if not reads_safely(torch.__version__) and os.environ.get(TRUST) != "1":
        problem = f"is a pickle, which torch {torch.__version__} cannot read safely ({WEAKNESS})"
        fix = f"install torch 2.10 or newer, or give safetensors; set {TRUST}=1 if you trust who made the file"
        raise UserError(problem, where=str(path), fix=fix)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of comes back as an error
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise _unreadable(path, str(error)) from None


def _no_weights(path: Path, said: str) -> UserError:
    reason = said.partition("\n")[0].partition(". ")[0] or "it ends too early"
    fix = "give a whole file that holds weights only; a download may have been cut short"
    return UserError(f"cannot be read: damaged, or no file of weights ({reason})", where=str(path), fix=fix)


def _unreadable(path: Path, said: str) -> UserError:
    # torch's own text is long, and tells how to load the file with its code.
    if "weights_only" not in said and "TorchScript" not in said:
        return _no_weights(path, said)
    named = _GLOBAL.search(said)
    held = f"it holds {named[1]}, which is no weight" if named else "it is damaged or holds more than weights"
    problem = f"cannot be read: {held}; refused, since loading it could run its code"
    fix = "save its tensors alone on a machine where you trust the file, and give that"
    return UserError(problem, where=str(path), fix=fix)
