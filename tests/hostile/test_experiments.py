"""Hostile experiment files: one plain message each, soon, whatever they hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover

from .given import NO_FILES, within

LONG = 100_000
TEXTS: dict[str, tuple[str, str]] = {
    "brackets": ("x = " + "[" * LONG, "is not TOML"),
    "inline tables": ("x = " + "{a = " * LONG, "is not TOML"),
    "a key of many parts": ("a" + ".a" * LONG + " = 1", "a key has 64 parts or more"),
    "a key of many quoted parts": ('"a"' + ' . "a"' * LONG + " = 1", "a key has 64 parts or more"),
    "a table of many parts": ("[a" + ".a" * LONG + "]", "a key has 64 parts or more"),
    "an endless number": ("seed = " + "9" * 5000, "is not TOML"),
    "a date that is none": ("seed = 2024-13-45", "is not TOML"),
    "a zero byte": ("\0", "is not TOML"),
    "control characters": ('name = "\x1b[31m"', "is not TOML"),
    "many unknown keys": ("".join(f"k{number} = 1\n" for number in range(20_000)), "and 199"),
    "tables in a list": ("levels = [{a" + ".a" * 60 + " = 1}]", "levels: unknown key"),
    "a value of a million letters": ('seed = "' + "x" * 10**6 + '"', "seed: input should be a valid integer"),
    "nothing": ("", "name: is missing"),
}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "experiment.toml"
    path.write_bytes(content)
    return path


def refused(path: Path) -> UserError:
    with within(20), pytest.raises(UserError) as caught:
        load(path, discover())
    assert len(str(caught.value)) < 100_000
    return caught.value


@pytest.mark.parametrize(("text", "said"), TEXTS.values(), ids=TEXTS)
def test_a_text_made_to_harm_is_one_error(tmp_path: Path, text: str, said: str) -> None:
    assert said in str(refused(written(tmp_path, text.encode())))


@pytest.mark.parametrize(
    "content",
    [text.encode(coding) for coding in ("utf-16", "utf-32", "latin-1") for text in ('name = "é"\n',)]
    + [b'name = "\xed\xa0\x80"', b"\xff", b"name = '\xc0\xaf'"],
    ids=["UTF-16", "UTF-32", "Latin-1", "half a character", "a lone byte", "an overlong slash"],
)
def test_another_encoding_is_named(tmp_path: Path, content: bytes) -> None:
    assert "cannot be read" in str(refused(written(tmp_path, content)))


def test_a_mark_of_byte_order_is_passed_over(tmp_path: Path, small_experiment: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf" + small_experiment.read_bytes())
    assert load(path, discover()).file.name == "small"


def test_a_file_of_50_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = written(tmp_path, b"[x]\n" * (50 * 2**18))
    with within(2), pytest.raises(UserError, match="has more than 1,048,576 bytes"):
        load(path, discover())


@pytest.mark.slow
@pytest.mark.parametrize("text", ["k = [" + "1," * 500_000 + "]", "".join(f"[t{n}.a.b.c]\n" for n in range(60_000))])
def test_the_largest_file_that_is_read_takes_seconds(tmp_path: Path, text: str) -> None:
    assert 500_000 < len(text) < 2**20
    assert "unknown key" in str(refused(written(tmp_path, text.encode())))


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_neither_waited_for_nor_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "experiment.toml"
    make(path)
    assert refused(path).where == str(path)


@pytest.mark.parametrize("path", ["~nobody_of_this_name/x", "./a\\u0000b", "./loop/x"])
@pytest.mark.parametrize("key", ["plugins", "init.checkpoint", "data.test.root", "backbone.model", "cache.folder"])
def test_what_no_path_can_be_is_one_error(
    tmp_path: Path, small_experiment: Path, monkeypatch: pytest.MonkeyPatch, key: str, path: str
) -> None:
    """The home of nobody, a zero byte, a link to itself."""
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    value = f'["{path}"]' if key == "plugins" else f'"{path}"'
    with pytest.raises(UserError, match=key) as caught:
        load(small_experiment, discover(), [f"{key}={value}"])
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    ["a=" + "[" * LONG, "seed=" + "9" * 5000, ".".join("a" * 5000) + "=1", "seed=1\n[backbone]\n", "=", "a..b=1",
     "seed=\x1b[31m"],
)  # fmt: skip
def test_a_hostile_override_is_one_error(small_experiment: Path, override: str) -> None:
    with within(10), pytest.raises(UserError) as caught:
        load(small_experiment, discover(), [override])
    assert "\x1b" not in str(caught.value)
