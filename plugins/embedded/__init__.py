"""A small CLIP of our own in open_clip's format, so that a first run needs no download.

It has seen procedurally drawn surfaces only and is no OpenAI model; `docs/guide/embedded-model.md` describes it.
"""

from pathlib import Path

CONFIG = Path(__file__).with_name("drawn_surfaces.json")
"""Its sizes, in the form of open_clip's model configs (GELU, not QuickGELU)."""

WEIGHTS = Path(__file__).with_name("drawn_surfaces.safetensors")
"""Its weights in float16 under open_clip's names."""
