"""New plugin packages: what `aakit new-plugin` writes."""

from .package import Package
from .write import write_package

__all__ = ["Package", "write_package"]
