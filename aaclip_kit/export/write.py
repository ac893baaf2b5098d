"""An exported model's folder: the program, its card, and a short program that runs it without this package."""

import json
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from importlib.resources import files as packaged
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from PIL.Image import Image
from torch.export import ExportedProgram

from ..checkpoints.stored_thresholds import Thresholds
from ..contracts.data import DataSet, Sample
from ..contracts.errors import UserError, UserErrors, writing
from ..data.copies import pixels_and_look
from ..data.decode import open_picture, resized
from ..data.image_file import checksum, read_content
from ..evaluation.calibration import one_by_one
from ..files.whole_file import whole_folder
from ..inference.given_images import as_picture
from ..inference.load_model import TrainedModel
from ..kernels.exporting import CAN_EXPORT
from .agreement import Agreement, Reference, Runner, compare, drawn_pictures
from .card import card_of, threshold_of
from .onnx_file import halve_weights, needed, onnx_runner, quantise, write_onnx
from .openvino_file import openvino_runner, write_openvino
from .scoring_graph import SIZES, exported
from .torch_file import torch_runner, with_half_weights, write_torch

Target = Literal["onnx", "openvino", "torch"]
Precision = Literal["fp32", "fp16", "int8"]

CARD: Final = "card.json"

MOST_PICTURES: Final = 100
"""Pictures of a folder that a program is compared, and calibrated, on: evenly spread."""

_PROGRAMS: Final = {
    "onnx": ("run_onnx.py", "read_picture.py", "Program.cs"),
    "openvino": ("run_openvino.py", "read_picture.py"),
    "torch": ("run_torch.py", "read_picture.py"),
}


@dataclass(frozen=True)
class Export:
    """What is exported, and how: for images of the one class of `data`, which holds the pictures to compare on."""

    trained: TrainedModel
    data: DataSet
    thresholds: Thresholds
    _: KW_ONLY
    to: Target
    precision: Precision
    given: float | None = None
    """A threshold in the place of the stored one."""
    before_each: Callable[[], None] = lambda: None
    tell: Callable[[str], None] = lambda line: None
    """Called with a line as each of the long steps begins."""

    def check(self) -> None:
        """Raise `UserError` for what is not installed, and for a precision that cannot be."""
        if not CAN_EXPORT:
            fix = "pip install 'torch>=2.7'"
            raise UserError(f"torch {torch.__version__} cannot export for any number of images", where="torch", fix=fix)
        if self.to != "onnx" and self.precision == "int8":
            fix = "export with --to onnx, or with fp16"
            raise UserError(f"there is no int8 with --to {self.to}", where="--precision", fix=fix)
        if self.precision == "int8" and not self.data.samples:
            fix = "give --images with a folder of ordinary photographs, such as those that the model was trained on"
            raise UserError("int8 is calibrated on photographs", where="--images", fix=fix)
        for name in () if self.to == "torch" else ("onnx", "onnxscript", "onnxruntime"):
            needed(name, "export")
        if self.to == "openvino":
            needed("openvino", "openvino")

    def write(self, out: Path) -> Agreement:
        """Write the folder, whole or not at all. Raises `UserError` where the program and PyTorch disagree."""
        self.check()
        if known := self._remembered:
            said = f"{known} of {len(self._pictures)} pictures are remembered by the model, and say nothing of"
            self.tell(f"note        {said} the decisions of others; give new photographs, bad ones too")
        self.tell("scoring     the pictures in PyTorch")
        reference = self._reference
        self.tell(f"exporting   to {self.to}, {self.precision}; a large model takes minutes")
        program = exported(self.trained, self.data)
        with writing(out), whole_folder(out) as part:
            files, run = self._program(program, part)
            self.before_each()
            self.tell(f"comparing   on {len(reference.squares)} pictures, each alone and all in a batch")
            threshold = threshold_of(self.thresholds, self.given)
            agreement = compare(run, reference, threshold, exact=self.precision == "fp32")
            card = card_of(
                self.trained, self.data, self.thresholds, given=self.given, files=files, to=self.to,
                precision=self.precision, agreement=agreement, compared_on=self.compared_on,
            )  # fmt: skip
            (part / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            for name in _PROGRAMS[self.to]:
                text = (packaged(__package__) / "programs" / f"{name}.txt").read_text(encoding="utf-8")
                (part / name).write_text(text, encoding="utf-8")
            self.before_each()
        return agreement

    @property
    def compared_on(self) -> str:
        """What pictures the program is compared on, in words."""
        known = f", {self._remembered} of them remembered by the model" if self._remembered else ""
        return f"{len(self._chosen)} photographs given with --images{known}" if self.data.samples else "drawn ones"

    @property
    def _remembered(self) -> int:
        """How many of the pictures the model remembers."""
        known = self.trained.remembered
        return sum(bool({digest, pixels_and_look(picture)[0]} & known) for digest, picture in self._pictures)

    @property
    def _chosen(self) -> Sequence[Sample]:
        samples = self.data.samples
        count = min(len(samples), MOST_PICTURES)
        return [samples[round(place)] for place in np.linspace(0, len(samples) - 1, count)]

    @cached_property
    def _pictures(self) -> list[tuple[str, Image]]:
        """The photographs that are given, with the SHA-256 of each. Raises `UserErrors` for files that are none."""
        pictures, faults = [], list[UserError]()
        for path in (sample.image for sample in self._chosen):
            self.before_each()
            try:
                content = read_content(path)
                pictures.append((checksum(path, content), open_picture(path, content)))
            except UserError as fault:
                faults.append(fault)
        if faults:
            raise UserErrors(faults)
        return pictures

    @cached_property
    def _reference(self) -> Reference:
        """The pictures, and what PyTorch says of them."""
        pictures = [picture for _, picture in self._pictures]
        pictures = pictures or [as_picture(drawn, "drawn") for drawn in drawn_pictures()]
        squares = np.stack([np.asarray(resized(one, self.trained.evaluator.pixels.size)) for one in pictures])
        return Reference(squares, *self._scored(squares))

    def _scored(self, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Maps at the model's size, and scores, as `aakit predict` makes them."""
        (name,), size = self.data.real_names, self.trained.evaluator.pixels.size
        decoded = self.trained.decoded(None, held=True)
        samples = tuple(Sample(Path(f"image {number}"), name, 0) for number in range(len(squares)))
        for sample, square in zip(samples, squares, strict=True):
            decoded.hold(sample.image, as_picture(square, str(sample.image)), size)
        own = one_by_one(self.trained.evaluator_for(self.data))
        evaluator = replace(own, pixels=replace(own.pixels, decoded=decoded), workers=0)
        data = DataSet(samples, self.data.real_names, self.data.domain)
        batches = list(evaluator.scored_batches(data, name, self.trained.attending, self.trained.is_trained))
        return np.concatenate([one.maps for one in batches]), np.concatenate([one.image_scores for one in batches])

    def _program(self, program: ExportedProgram, folder: Path) -> tuple[list[Path], Runner]:
        """The files of the program, and what runs it."""
        half = self.precision == "fp16"
        if self.to == "torch":
            path = folder / "model.pt2"
            write_torch(with_half_weights(program, SIZES) if half else program, path)
            return [path], torch_runner(path)
        path = folder / "model.onnx"
        write_onnx(program, path)
        if self.precision == "int8":
            quantise(path, list(self._reference.squares))
        if self.to == "openvino":
            target = folder / "model.xml"
            write_openvino(path, target, half=half)
            for other in folder.glob("model.onnx*"):
                other.unlink()
            return [target, target.with_suffix(".bin")], openvino_runner(target)
        if half:
            halve_weights(path)
        return sorted(folder.glob("model.onnx*")), onnx_runner(path)
