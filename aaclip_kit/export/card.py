"""The card of an exported model: everything that a program which runs it, or a person who finds it, has to know."""

from dataclasses import asdict
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..checkpoints.bank_file import bank_of
from ..checkpoints.stored_thresholds import Thresholds, origin
from ..contracts.data import DataSet
from ..files.plain_file import checksum_of
from ..inference.load_model import TrainedModel
from ..version import __version__
from .agreement import Agreement

FORMAT: Final = "aaclip_kit export 1"

_ARITHMETIC: Final = {
    "fp32": "weights and arithmetic in float32",
    "fp16": "weights kept in float16, arithmetic in float32",
    "int8": "matrix products and convolutions in 8 bits, the rest in float32",
}


def threshold_of(thresholds: Thresholds, given: float | None) -> float | None:
    """Return the least float32 that is at or above the threshold: compared in float32, it decides as that does."""
    value = thresholds.image if given is None else given
    if value is None:
        return None
    least = np.float32(value)
    return float(least if float(least) >= value else np.nextafter(least, np.float32(np.inf)))


def card_of(
    trained: TrainedModel,
    data: DataSet,
    thresholds: Thresholds,
    *,
    given: float | None,
    files: list[Path],
    to: str,
    precision: str,
    agreement: Agreement,
    compared_on: str,
) -> dict[str, Any]:
    """Return the card of the files of an exported model, the first of which is loaded."""
    ((name, real_name),) = data.real_names.items()
    side, own = trained.evaluator.pixels.size, trained.trained
    calibration = own.metadata.calibration
    told = origin(calibration, "image") if thresholds.image is not None else thresholds.reasons.get("image", "none")
    packages = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino"), "torch": ()}[to]
    references = trained.evaluator.references
    memory = None if references is None else bank_of(own.checkpoint)
    return {
        "format": FORMAT,
        "file": files[0].name,
        "runs_with": {"onnx": "ONNX Runtime", "openvino": "OpenVINO", "torch": "torch.export.load"}[to],
        "precision": {"name": precision, "means": _ARITHMETIC[precision]},
        "inputs": {
            "picture": {
                "type": "uint8",
                "shape": ["images", "height", "width", 3],
                "means": f"upright RGB of any size; it is resized to {side} x {side} (Pillow's bicubic) and normalised",
            },
            "threshold": {"type": "float32", "shape": [], "means": "the score from which a picture is anomalous"},
        },
        "outputs": {
            "map": {"type": "float32", "shape": ["images", side, side], "means": "higher where more anomalous"},
            "score": {"type": "float32", "shape": ["images"], "means": "higher for a more anomalous picture"},
            "decision": {"type": "bool", "shape": ["images"], "means": "score >= threshold"},
        },
        "threshold": {
            "value": threshold_of(thresholds, given),
            "origin": "given with --threshold" if given is not None else told,
        },
        "map_threshold": {"value": thresholds.map, "means": "map values from which a pixel counts as anomalous"},
        "object": {"class": name, "real_name": real_name, "domain": data.domain},
        "remembered_images": None if references is None else len(set(chain(*references.images.values()))),
        "agreement_with_pytorch": {**asdict(agreement), "pictures": compared_on},
        "sha256": {
            **{path.name: checksum_of(path) for path in files},
            "checkpoint": trained.checksum,
            **({} if memory is None else {"memory": checksum_of(memory)}),
        },
        "experiment": own.metadata.about.experiment,
        "versions": {"aaclip_kit": __version__, **{one: version(one) for one in ("torch", *packages)}},
    }
