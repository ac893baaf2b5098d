"""Whether torch and torchvision can be imported, and fit each other."""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from time import monotonic
from typing import Final

from .finding import Finding

_AGAIN: Final = "python -m pip install --force-reinstall torch torchvision, both from one place"


def libraries() -> Iterator[Finding]:
    """Import both; call an operator that torchvision's compiled part brings, which needs the torch it was built for."""
    began = monotonic()
    try:
        torch = import_module("torch")
    except Exception as error:
        yield Finding("torch", "bad", f"{_installed('torch')} cannot be imported: {_line(error)}", _AGAIN)
        return
    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    yield Finding("torch", "good", f"{torch.__version__}, built {build}, imported in {monotonic() - began:.1f} s")
    yield from _pickles(torch.__version__)
    try:
        torchvision = import_module("torchvision")
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        found = f"{_installed('torchvision')} does not work with torch {torch.__version__}: {_line(error)}"
        yield Finding("torchvision", "bad", found, pairing(str(torch.__version__)))
    else:
        yield Finding("torchvision", "good", f"{torchvision.__version__}, works with this torch")


def _pickles(version: str) -> Iterator[Finding]:
    from ..files.weights_file import TRUST, WEAKNESS, reads_safely

    if not reads_safely(version):
        found = f"{version} cannot read pickles of weights safely ({WEAKNESS}): they are refused"
        advice = f"python -m pip install 'torch>=2.10', or take safetensors; {TRUST}=1 has them read nevertheless"
        yield Finding("torch", "note", found, advice)


def pairing(torch_version: str) -> str:
    """Which torchvision goes with a torch: 0.(N + 15) with 2.N, built for the same CUDA or both without."""
    major, minor = torch_version.split(".")[:2]
    wanted = f"torchvision==0.{int(minor) + 15}.*" if major == "2" else "torchvision"
    _, _, build = torch_version.partition("+")
    return f"python -m pip install --force-reinstall --no-deps '{wanted}', {_place(build)}"


def _place(build: str) -> str:
    return f"from where torch came (its build is {build})" if build else "from where torch came"


def _installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name}, which is not installed,"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
