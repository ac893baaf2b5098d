"""A fresh virtual environment, as a stranger has it: the toolkit and its packages are there, nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALLED = ("aaclip_kit", "plugins", "experiments", "setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
"""What of the repository an installation is made from."""

LEFT_BY_BUILDS = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")


class Fresh:
    """A virtual environment in `folder` that sees this one's packages and has its own installed on top of them."""

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("setuptools", minversion="77", reason="building a package offline needs setuptools")
        pytest.importorskip("pip", reason="packages are installed as a stranger would, with pip")
        venv.create(folder, with_pip=False, symlinks=True)
        self.scripts = folder / "bin"
        self.python = self.scripts / "python"
        outer = sysconfig.get_path("purelib")
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")
        for name, module in (("pip", "pip"), ("pytest", "pytest"), ("aakit", "aaclip_kit")):
            script = self.scripts / name
            script.write_text(f'#!/bin/sh\nexec "{self.python}" -m {module} "$@"\n')
            script.chmod(0o755)

    def install(self, source: Path, *, editable: bool = False, copy_to: Path | None = None) -> str:
        """Install a package with pip; returns what is said. With `copy_to` it is copied first: builds leave files."""
        if copy_to is not None:
            source = Path(shutil.copytree(source, copy_to / source.name, ignore=LEFT_BY_BUILDS))
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
        chosen = ["--editable", str(source)] if editable else [str(source)]
        ran = self.run("-m", "pip", "install", *options, *chosen, cwd=source)
        ran.check_returncode()
        return ran.stdout + ran.stderr

    def install_toolkit(self, source: Path) -> str:
        """Install this toolkit as from a wheel, from a copy of it in the new folder `source`; return what is said."""
        source.mkdir()
        for name in INSTALLED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=LEFT_BY_BUILDS)
            else:
                shutil.copy(ROOT / name, source)
        return self.install(source)

    def run(self, *arguments: str | Path, cwd: Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run this environment's Python on one thread; output is captured."""
        return self._run([str(self.python), *map(str, arguments)], cwd, timeout)

    def shell(self, commands: str, cwd: Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run shell commands as in an activated environment, with pip kept off the network; output is captured."""
        return self._run(["bash", "-euo", "pipefail", "-c", commands], cwd, timeout)

    def _run(self, command: list[str], cwd: Path, timeout: float) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTEST_ADDOPTS"):
            environment.pop(name, None)
        environment["PATH"] = os.pathsep.join([str(self.scripts), environment["PATH"]])
        # pip's own reading of this variable: 0 stands for the option --no-build-isolation.
        environment |= {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=timeout)

    def aakit(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run `aakit` in this environment."""
        return self.run("-m", "aaclip_kit", *arguments, cwd=cwd)
