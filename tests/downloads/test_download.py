"""A download that breaks off goes on behind what has come, and only where the file is still the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.downloads.download import download

from .server import Site

CONTENT = random.Random(1).randbytes(3 << 20)


@pytest.fixture
def broken(site: Site, tmp_path: Path) -> Path:
    """What is left of a download that broke off in the middle."""
    site.content, site.breaks_after = CONTENT, 1_500_000
    target = tmp_path / "archive"
    with pytest.raises(UserError, match="could not be fetched whole") as raised:
        download(site.url, target)
    assert "1,500,000 bytes are kept" in str(raised.value)
    site.breaks_after = None
    return target


def test_a_broken_download_goes_on_behind_what_has_come(site: Site, broken: Path) -> None:
    told: list[tuple[int, int | None]] = []
    download(site.url, broken, lambda there, of: told.append((there, of)))
    assert broken.read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=1500000-"]
    assert told[0][0] > 1_500_000 and told[-1] == (len(CONTENT), len(CONTENT))


def test_a_whole_download_is_not_fetched_again(site: Site, broken: Path) -> None:
    download(site.url, broken)
    download(site.url, broken)
    assert broken.read_bytes() == CONTENT and site.ranges[-1] == f"bytes={len(CONTENT)}-"


def test_another_file_at_the_same_address_is_fetched_from_its_beginning(site: Site, broken: Path) -> None:
    site.content = CONTENT[::-1]
    download(site.url, broken)
    assert broken.read_bytes() == CONTENT[::-1]


def test_a_shorter_file_in_its_place_is_fetched_from_its_beginning(site: Site, broken: Path) -> None:
    site.content = b"short"
    download(site.url, broken)
    assert broken.read_bytes() == b"short"


def test_what_came_from_another_address_is_not_gone_on_with(site: Site, broken: Path) -> None:
    download(site.url.replace("127.0.0.1", "localhost"), broken)
    assert broken.read_bytes() == CONTENT and site.ranges[-1] is None


def test_without_a_mark_of_the_file_nothing_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    site.content, site.tagged, site.breaks_after = CONTENT, False, 1_000_000
    with pytest.raises(UserError):
        download(site.url, tmp_path / "archive")
    site.breaks_after = None
    download(site.url, tmp_path / "archive")
    assert site.ranges == [None, None] and (tmp_path / "archive").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a", "archive.zip", "http://"])
def test_only_web_servers_are_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="is no address of a web server"):
        download(url, tmp_path / "archive")
    assert list(tmp_path.iterdir()) == []


def test_no_redirection_leads_to_a_file(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        download(f"{site.address}/file", tmp_path / "archive")
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_no_file_and_a_server_that_is_not_there_are_told(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the server answers 404"):
        download(f"{site.address}/nothing", tmp_path / "archive")
    with pytest.raises(UserError, match="could not be fetched whole"):
        download("http://127.0.0.1:9/archive", tmp_path / "archive")
    assert list(tmp_path.iterdir()) == []
