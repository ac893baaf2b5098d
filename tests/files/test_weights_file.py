"""Files of weights: what is read, what is refused, and with which torch."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import struct
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from aaclip_kit import UserError, read_weights
from aaclip_kit.checkpoints.provenance import read_metadata
from aaclip_kit.files.weights_file import TRUST, as_safetensors, read_safetensors, reads_safely, without_wrappers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    return tmp_path / "a.pth"


@pytest.fixture(autouse=True)
def nobody_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRUST, raising=False)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    with pytest.raises(UserError, match="is no plain file") as caught:
        read_weights(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(as_safetensors({"a": torch.ones(2)}, {}))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    for read in (read_weights, read_metadata):
        with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
            read(path)


@pytest.mark.parametrize(
    ("version", "safe"),
    [("2.6.0", False), ("2.9.1+cu128", False), ("2.10.0a0+git1", True), ("2.10.0", True), ("2.15.0+cpu", True)],
)
def test_versions_whose_reader_is_safe(version: str, safe: bool) -> None:
    assert reads_safely(version) == safe


def test_a_torch_whose_reader_is_not_safe_reads_what_the_user_trusts_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    for told in ("", "0", "yes"):
        monkeypatch.setenv(TRUST, told)
        with pytest.raises(UserError, match=r"torch 2\.9\.1\+cu128 cannot read safely") as caught:
            read_weights(file)
        assert caught.value.where == str(file) and caught.value.fix and f"{TRUST}=1" in caught.value.fix
    monkeypatch.setenv(TRUST, "1")
    assert torch.equal(read_weights(file)["a"], torch.ones(2))


def test_a_safe_reader_needs_no_trust(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    assert torch.equal(read_weights(file)["a"], torch.ones(2))


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_archive_is_refused_for_the_code_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "1")
    torch.jit.script(Scripted()).save(tmp_path / "a.pt")
    with pytest.raises(UserError, match="refused, since loading it could run its code"):
        read_weights(tmp_path / "a.pt")


def zipped(*names: str) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return out.getvalue()


def pickled(protocol: int | None = None) -> bytes:
    out = BytesIO()
    torch.save({"a": torch.ones(2)}, out, _use_new_zipfile_serialization=protocol is None)
    return out.getvalue()


TENSORS = save({"a": torch.ones(2)})
KINDS = {
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS", "git lfs pull"),
    "a web page": (b"\n <!DOCTYPE html>\n<html></html>", "is a web page", "/resolve/"),
    "a page with a mark of byte order": (b"\xef\xbb\xbf<html lang='en'>", "is a web page", "/resolve/"),
    "an answer in XML": (b"<?xml version='1.0'?><Error>", "is a web page", "/resolve/"),
    "gzip": (gzip.compress(TENSORS), "packed with gzip", "unpack it"),
    "bzip2": (bz2.compress(TENSORS), "packed with bzip2", "unpack it"),
    "a zip archive": (zipped("model.safetensors"), "is a zip archive", "unpack it"),
    "a tar archive": (bytes(257) + b"ustar\0", "is a tar archive", "unpack it"),
    "a program": (zipped("a/data.pkl", "a/constants.pkl", "a/code/x.py"), "TorchScript", "state_dict()"),
    "JSON": (b' {"metadata": {}, "weight_map": {}}', "is text in JSON", "beside it"),
    "nothing": (b"", "is empty", "fetch it again"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taken_for_weights_is_called_by_its_name(tmp_path: Path, kind: str, suffix: str) -> None:
    content, said, fix = KINDS[kind]
    (tmp_path / f"a{suffix}").write_bytes(content)
    for reader in (read_weights, read_metadata):
        with pytest.raises(UserError, match="cannot be read: it ") as caught:
            reader(tmp_path / f"a{suffix}")
        assert said in caught.value.problem and fix in str(caught.value.fix)


def test_a_format_under_the_name_of_the_other_is_to_be_renamed(tmp_path: Path) -> None:
    cases = {"a.pth": (TENSORS, "ends in .safetensors"), "b.bin": (TENSORS, "ends in .safetensors")}
    cases |= {f"{n}.safetensors": (pickled(n), "ends in .pth") for n in (None, 2)}
    for name, (content, fix) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_weights(tmp_path / name)
        assert fix in str(caught.value.fix)


def test_safetensors_may_begin_as_other_files_do(tmp_path: Path) -> None:
    """Their first bytes are the length of the header: 123 is a brace in JSON, 35,615 begins gzip."""
    for length in (123, 35_615):
        head = json.dumps({"__metadata__": {}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + head.ljust(length).encode() + bytes(4))
        assert read_weights(tmp_path / "a.safetensors")["a"].tolist() == [0.0]


def test_names_are_freed_of_wrappers_in_any_order_and_depth() -> None:
    for name in ("module.a.0.weight", "_orig_mod.module.a.0.weight", "module._orig_mod.a._orig_mod.0.module.weight"):
        assert without_wrappers(name) == "a.0.weight"
    assert without_wrappers("submodule.a.module_list.0") == "submodule.a.module_list.0"


def test_a_file_that_is_cut_short_is_damaged(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "1")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match="damaged, or no file of weights"):
        read_weights(file)


def test_safetensors_need_no_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert torch.equal(read_weights(tmp_path / "a.safetensors")["a"], torch.ones(2))


def test_safetensors_that_are_cut_short_are_damaged(tmp_path: Path) -> None:
    save_file({"a": torch.ones(200)}, tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:200])
    with pytest.raises(UserError, match="damaged, or no file of weights"):
        read_weights(tmp_path / "a.safetensors")


def test_a_pickle_that_is_named_safetensors_is_not_read_as_a_pickle(file: Path) -> None:
    with pytest.raises(UserError, match=r"is a pickle of torch, and named \.safetensors"):
        read_weights(file.rename(file.with_suffix(".safetensors")))


WRITTEN = {"b": torch.arange(6, dtype=torch.float16).reshape(2, 3), "a": torch.ones(()), "none": torch.zeros(0, 4)}


def test_a_flipped_bit_of_tensors_or_texts_is_damage(tmp_path: Path) -> None:
    path, content = tmp_path / "a.safetensors", as_safetensors(WRITTEN, {"about": "threshold 0.5"})
    path.write_bytes(content)
    tensors, about = read_safetensors(path)
    assert about == {"about": "threshold 0.5"} and tensors.keys() == WRITTEN.keys()
    assert all(torch.equal(tensors[name], value) for name, value in WRITTEN.items())
    for place in (len(content) - 1, content.index(b"0.5")):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(UserError, match="its checksum is another"):
            read_weights(path)


def test_the_same_content_makes_the_same_bytes() -> None:
    """safetensors itself writes the texts in another order each time."""
    about = {f'{number} \n\x7f"ä': "\t\u2028 丝" for number in range(9)}
    assert len({as_safetensors(WRITTEN, about) for _ in range(5)}) == 1
    reordered = dict(reversed(about.items()))
    assert as_safetensors(WRITTEN, reordered) == as_safetensors(WRITTEN, about)
    assert int.from_bytes(as_safetensors(WRITTEN, about)[:8], "little") % 8 == 0


def test_a_file_without_a_checksum_of_ours_is_read_as_it_is(tmp_path: Path) -> None:
    save_file(WRITTEN, tmp_path / "a.safetensors", {"checksum": "another's"})
    assert read_weights(tmp_path / "a.safetensors").keys() == WRITTEN.keys()
