"""Which packages are installed; everything else about them stands in pyproject.toml."""

from setuptools import find_packages, setup

IMPORTED_AS = {"plugins": "aaclip_kit_plugins", "experiments": "aaclip_kit_experiments"}
"""Folders whose packages are not imported by the folder's own name; package-dir in pyproject.toml says so too."""

setup(
    packages=find_packages(include=["aaclip_kit", "aaclip_kit.*"])
    + [
        name.replace(folder, package, 1)
        for folder, package in IMPORTED_AS.items()
        for name in find_packages(include=[folder, f"{folder}.*"])
    ],
)
