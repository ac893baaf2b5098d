"""The program as a model of OpenVINO, by way of ONNX: an XML file with its weights beside it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .agreement import Runner
from .onnx_file import needed
from .scoring_graph import OUTPUTS


def write_openvino(onnx: Path, path: Path, *, half: bool) -> None:
    """Convert an ONNX file; with `half` the weights are kept in half precision. Raises `UserError` without OpenVINO."""
    openvino = needed("openvino", "openvino")
    openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=half)


def openvino_runner(path: Path, threads: int = 0) -> Runner:
    """Return a function that runs a model on the CPU in float32, or 8 bits where it says so; 0 threads are all."""
    openvino = needed("openvino", "openvino")
    settings = {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)

    def run(pictures: np.ndarray, threshold: float) -> Sequence[np.ndarray]:
        found = compiled({"picture": pictures, "threshold": np.array(threshold, np.float32)})
        return [found[name] for name in OUTPUTS]

    return run
