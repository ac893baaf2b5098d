"""The program as an ONNX file, in float32, with weights of half precision, or in 8 bits; and what runs it."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch.export import ExportedProgram

from ..contracts.errors import UserError
from .scoring_graph import INPUTS, OUTPUTS

OPSET: Final = 20

MOST_BYTES: Final = 1_900_000_000
"""A file of protobuf ends below two GiB; the weights of a larger model lie in a second file."""

_LEAST: Final = 1024
"""Numbers of the smallest tensor that is kept in half precision."""

_PRODUCTS: Final = ("MatMul", "Gemm")


def needed(name: str, extra: str) -> Any:
    """Return a module of an extra. Raises `UserError` where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        fix = f"pip install 'aaclip-kit[{extra}]'"
        raise UserError(f"needs the package {name.partition('.')[0]}", where="--to", fix=fix) from None


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Write the program. Raises `UserError` for a component of which an operation has no counterpart in ONNX."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        needed(name, "export")
    import torch

    try:
        with _quiet():
            made = torch.onnx.export(
                program, dynamo=True, input_names=INPUTS, output_names=OUTPUTS, opset_version=OPSET, verbose=False
            )
    except Exception as error:  # the translation may raise anything
        raise _untranslated(program, error) from error
    assert made is not None
    weights = sum(tensor.nbytes for tensor in [*program.state_dict.values(), *program.constants.values()])
    made.save(path, external_data=weights > MOST_BYTES)


def halve_weights(path: Path) -> None:
    """Keep the weights of a file in half precision; what is computed of them stays in float32."""
    onnx = needed("onnx", "export")
    model = onnx.load(path)
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _LEAST:
            continue
        name, values = tensor.name, onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(_in_half(values), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    onnx.save(model, path)


def _in_half(values: np.ndarray) -> np.ndarray:
    limits = np.finfo(np.float16)
    return np.clip(values, limits.min, limits.max).astype(np.float16)


def quantise(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """Put a file's linear layers into 8 bits, by what comes to them of these pictures.

    What follows them stays in float32: a range that was found on normal pictures would cut off what is unlike them, as
    distances from what is remembered are. So do convolutions, which in 8 bits are no faster in the embedded model
    (docs/notebook/benchmarks.md).
    """
    quantization = needed("onnxruntime.quantization", "export")
    prepared, layers = path.with_name("prepared.onnx"), _linear_layers(path)
    with _quiet():
        needed("onnxruntime.quantization.shape_inference", "export").quant_pre_process(
            path, prepared, skip_symbolic_shape=True
        )
        quantization.quantize_static(
            prepared, path, _Reader(pictures), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            nodes_to_quantize=layers, op_types_to_quantize=list(_PRODUCTS),
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )  # fmt: skip
    prepared.unlink()


def _linear_layers(path: Path) -> list[str]:
    """Products that were linear layers in PyTorch, by what its exporter notes of each."""
    model = needed("onnx", "export").load(path, load_external_data=False)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _PRODUCTS and any("aten.linear" in note.value for note in node.metadata_props)
    ]


class _Reader:
    """Pictures as the quantiser of ONNX Runtime asks for them."""

    def __init__(self, pictures: Sequence[np.ndarray]) -> None:
        self._given: Iterator[np.ndarray] = iter(pictures)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next inputs, None after the last."""
        picture = next(self._given, None)
        return None if picture is None else dict(zip(INPUTS, (picture[None], np.zeros((), np.float32)), strict=True))


def onnx_runner(path: Path, threads: int = 0) -> Any:
    """Return a function of pictures `uint8 [B, H, W, 3]` and a threshold that runs a file; 0 threads are all."""
    runtime = needed("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(pictures: np.ndarray, threshold: float) -> Sequence[np.ndarray]:
        given: Mapping[str, Any] = dict(zip(INPUTS, (pictures, np.array(threshold, np.float32)), strict=True))
        return session.run(list(OUTPUTS), given)

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """What the makers of a file warn their own users of is not for the user of this command."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _untranslated(program: ExportedProgram, error: Exception) -> UserError:
    """What to say of an operation without a counterpart, with the component that uses it."""
    told = str(error)
    for node in program.graph.nodes:
        trace = node.meta.get("stack_trace") or ""
        if node.op == "call_function" and f"{node.name}" in told and trace:
            place = trace.strip().splitlines()[-2:]
            problem = f"cannot be exported to ONNX: {node.target}, used in {' '.join(line.strip() for line in place)}"
            return UserError(problem, where="model", fix="leave that component out, or export with --to torch")
    problem = f"cannot be exported to ONNX: {type(error).__name__}: {next(iter(told.strip().splitlines()), '')}"
    return UserError(problem, where="model", fix="export with --to torch")
