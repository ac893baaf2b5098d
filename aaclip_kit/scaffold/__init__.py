"""New plugin packages: what `aakit new-plugin` writes."""

from .names import Package
from .write import write_package

__all__ = ["Package", "write_package"]
