"""New plugin packages: what `aakit new-plugin` writes."""

from .plugin_package import Package, write_package

__all__ = ["Package", "write_package"]
