"""What a run leaves on disk: its folder, its manifest, its pictures and its report."""

from .folder import RunFolder, default_run_path
from .manifest import collect_manifest

__all__ = ["RunFolder", "collect_manifest", "default_run_path"]
