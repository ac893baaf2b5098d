from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

import pytest

from aaclip_kit.doctor.installation import extras, packages, python


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only distributions that there are: the toolkit, which needs `top` 2, which needs `deep` 1 or 2."""
    install(tmp_path, "aaclip-kit", "0.1", "top>=2,<3", 'dev; extra == "dev"', 'old; python_version < "3"')
    install(tmp_path, "top", "2.5+cu130", "deep[fast]>=1,<3")
    install(tmp_path, "deep", "1.0", 'fast>=4; extra == "fast"', "top", "not a (requirement")
    install(tmp_path, "fast", "4.1rc1")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def install(site: Path, name: str, version: str, *needs: str, extras: tuple[str, ...] = ()) -> None:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def replace(site: Path, name: str, version: str | None) -> None:
    (old,) = site.glob(f"{name}-*.dist-info")
    needs = [line.partition(": ")[2] for line in (old / "METADATA").read_text().splitlines() if "Requires" in line]
    old.rename(site / f"{name}.gone")
    if version:
        install(site, name, version, *needs)


def test_packages_that_fit_are_one_finding(site: Path) -> None:
    (found,) = packages()
    assert (found.status, found.found) == ("good", "aaclip-kit 0.1, top 2.5+cu130")


@pytest.mark.parametrize(
    ("name", "version", "words", "advice"),
    [
        ("top", "1.9", "top is 1.9, and aaclip-kit needs top<3,>=2", "python -m pip install 'top<3,>=2'"),
        ("top", "3.0", "top is 3.0, and aaclip-kit needs top<3,>=2", "python -m pip install 'top<3,>=2'"),
        ("deep", "3.0", "deep is 3.0, and top needs deep<3,>=1", "python -m pip install 'deep<3,>=1'"),
        ("fast", None, "fast is not installed, and deep needs fast>=4", "python -m pip install 'fast>=4'"),
    ],
)
def test_a_package_that_does_not_fit_says_who_needs_which(
    site: Path, name: str, version: str | None, words: str, advice: str
) -> None:
    replace(site, name, version)
    (found,) = packages()
    assert (found.status, found.found, found.advice) == ("bad", words, advice)


def test_extras_that_are_there_and_those_that_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ('web>=2; extra == "serve"', 'cluster; extra == "ray"', 'aaclip-kit[serve]; extra == "line"', "top")
    install(tmp_path, "aaclip-kit", "0.1", *needs, extras=("dev", "serve", "ray", "line"))
    install(tmp_path, "top", "1")
    install(tmp_path, "web", "1.9")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (found,) = extras()
    assert (found.status, found.found) == ("good", "none; not installed: serve, ray, line")
    replace(tmp_path, "web", "2.0")
    (found,) = extras()
    assert found.found == "serve, line; not installed: ray"
    assert (found.advice or "").startswith("python -m pip install 'aaclip-kit[ray]'")
    install(tmp_path, "cluster", "1")
    (found,) = extras()
    assert (found.found, found.advice) == ("serve, ray, line", None)


def test_an_installation_that_is_none(site: Path) -> None:
    replace(site, "aaclip_kit", None)
    (found,) = packages()
    assert found.status == "bad" and found.found == "aaclip-kit is not installed"
    assert list(extras()) == []


def test_here_every_direct_need_is_named() -> None:
    (found, *_) = packages()
    assert found.status == "good", found
    for need in requires("aaclip-kit") or []:
        if "extra" not in need:
            name = need.split(">")[0].split("<")[0]
            assert f"{name} {metadata(name)['Version']}" in found.found


def test_an_old_python_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.4")
    (found,) = python()
    assert (found.status, found.found) == ("bad", "3.10.4, and >=3.11 is needed")


def test_python_outside_an_environment_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    (found,) = python()
    assert found.status == "note" and found.advice
    monkeypatch.setenv("CONDA_PREFIX", sys.prefix)
    (found,) = python()
    assert found.status == "good" and sys.prefix in found.found
    monkeypatch.delenv("CONDA_PREFIX")
    monkeypatch.setattr(sys, "prefix", "elsewhere")
    (found,) = python()
    assert (found.status, found.found) == ("good", f"{platform.python_version()}, environment elsewhere")


def test_without_metadata_the_bound_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.metadata", missing)
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.0")
    (found,) = python()
    assert found.status == "bad"
