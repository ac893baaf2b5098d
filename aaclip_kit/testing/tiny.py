"""An experiment that runs in seconds: a random backbone of four narrow blocks, and squares drawn on noise."""

import json
from pathlib import Path
from typing import Any, Final

import tomli_w

MODEL: Final[dict[str, Any]] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 4, "width": 32, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3},
}
"""Widths that all differ, so that a mix-up cannot pass."""

CLASSES: Final = ("red_cloth", "green_wood")
IMAGES: Final = 2
"""Normal images of each class; as many are anomalous."""


def tiny_experiment(folder: Path, *, more_data: dict[str, Any] | None = None, **tables: Any) -> Path:
    """Write an experiment file, a backbone's configuration and drawn images into `folder`; returns the file.

    `tables` take the place of the file's own top-level keys, such as `stages={"mine": {"use": "my_stage", ...}}` or
    `plugins=["my_stage.py"]`; paths in them start from `folder`. `more_data` are data sets of further roles.
    The run is one loop, two steps in each phase.
    """
    model, data = folder / "tiny_model", folder / "tiny_data"
    write_model(model)
    for number, name in enumerate(CLASSES):
        draw_class(data / name, channel=number, seed=number)
    path = folder / "tiny.toml"
    whole = {**_tables(model, data), **tables}
    whole["data"] = {**whole["data"], **(more_data or {})}
    path.write_text(tomli_w.dumps(whole), encoding="utf-8")
    return path


def write_model(folder: Path) -> None:
    """Write the configuration of the random backbone, as `open_clip` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")


def _tables(model: Path, data: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "device": "cpu",
        "backbone": {"use": "open_clip", "model": str(model.resolve()), "pretrained": "none"},
        "losses": {
            "text": {"segmentation": {"use": "segmentation"}},
            "vision": {"segmentation": {"use": "segmentation"}, "detection": {"use": "image_cross_entropy"}},
        },
        "scheduler": {
            **{"use": "feedback", "text_epochs": [1], "image_epochs": [1], "rate_factors": [1.0]},
            **{"text_batch": 2, "image_batch": 2, "text_rate": 1e-3, "image_rate": 1e-3},
        },
        "data": {
            role: {"use": "folder", "root": str(data.resolve()), "classes": [name]}
            for role, name in zip(("train", "test"), CLASSES, strict=True)
        },
        "calibration": {"held_out": 0.0},
    }


def draw_class(folder: Path, channel: int, seed: int, side: int = 40) -> None:
    """A class in the MVTec layout: noise of one colour, and on the anomalous images a bright square with its mask."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    for kind in ("test/good", "test/spot", "ground_truth/spot"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index in range(IMAGES):
        for defect in ("good", "spot"):
            image = random.integers(0, 60, (side, side, 3), dtype=np.uint8)
            image[..., channel] += 100
            if defect == "spot":
                mask = np.zeros((side, side), np.uint8)
                mask[10 : 20 + index, 8:22] = 255
                image[mask > 0] = 250
                Image.fromarray(mask).save(folder / "ground_truth" / "spot" / f"{index:03}_mask.png")
            Image.fromarray(image).save(folder / "test" / defect / f"{index:03}.png")
