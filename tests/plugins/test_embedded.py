"""The embedded CLIP: its files."""

import json

import open_clip
import torch
from aaclip_kit_plugins.embedded import CONFIG, WEIGHTS
from safetensors.torch import load_file


def test_the_files_load_as_plain_open_clip() -> None:
    config = json.loads(CONFIG.read_text())
    assert config["vision_cfg"]["width"] != config["text_cfg"]["width"] and config["vision_cfg"]["layers"] >= 8
    assert WEIGHTS.stat().st_size <= 16 * 2**20
    model = open_clip.model.CLIP(**config)
    weights = load_file(WEIGHTS)
    assert {w.dtype for w in weights.values()} == {torch.float16}
    model.load_state_dict({name: w.float() for name, w in weights.items()}, strict=True)
