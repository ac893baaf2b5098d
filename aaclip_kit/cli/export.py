"""`aakit export`: a trained model as one file that runs without this package."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from typer import Argument, Option

from ..contracts.errors import UserError, UserErrors
from ..plugin_host.discovery import discover
from .evaluate import EXPERIMENT_HELP, MODEL_HELP
from .scoring import Domains, check_finite, check_shown
from .signals import ended_by_signals
from .terminal import PlainConsole, say

Target = StrEnum("Target", ["onnx", "openvino", "torch"])
Precision = StrEnum("Precision", ["fp32", "fp16", "int8"])


def export(
    model: Path = Argument(help=MODEL_HELP),
    to: Target = Option(help="onnx for ONNX Runtime, openvino, or torch for torch.export.load."),
    out: Path = Option(help="Folder to write; it must not be there, or be empty."),
    precision: Precision = Option(Precision.fp32, "--precision", help="fp16 halves the file; int8 is for speed."),
    images: Path | None = Option(None, "--images", help="Photographs to compare with PyTorch on, and to calibrate on."),
    class_name: str | None = Option(None, "--class", help="Class of the images, as in training if known there."),
    real_name: str | None = Option(None, "--real-name", help="What prompts call the object: 'metal nut'."),
    domain: Domains | None = Option(None, "--domain", help="Kind of images, which sets the blur; as in training."),
    threshold: float | None = Option(None, "--threshold", help="Image score from which an image is anomalous."),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
) -> None:
    """Write a trained model as a file that runs without this package, once it agrees with PyTorch."""
    check_finite({"image": threshold})
    check_shown(class_name, "--class")
    check_shown(real_name, "--real-name")
    _check_place(out)
    from ..checkpoints.find_checkpoint import find_trained
    from ..checkpoints.stored_thresholds import stored_thresholds
    from ..contracts.data import DataSet, Sample
    from ..data.manifests import list_images
    from ..export.write import Export
    from ..inference.load_model import UNNAMED, TrainedModel

    listed, faults, notes = ([], [], ()) if images is None else list_images([images])
    if faults:
        raise UserErrors(faults)
    for note in notes:
        say(note)
    trained = find_trained(model, discover(), experiment, ["device=cpu", "precision=fp32"])
    name = class_name or UNNAMED
    with ended_by_signals() as stop:
        built = TrainedModel(trained)
        kind, real = built.domain(None if domain is None else domain.value), real_name or built.real_name(name)
        data = DataSet(tuple(Sample(item.image, name, 0) for item in listed), {name: real}, kind)
        own = Export(
            built, data, stored_thresholds(trained, kind), to=cast(Any, to.value), given=threshold,
            precision=cast(Any, precision.value), before_each=stop.raise_if_asked, tell=say,
        )  # fmt: skip
        own.check()
        say(f"prompts     call the object '{real}', fixed in the file; --class or --real-name names it")
        if images is None:
            say("compared    on drawn pictures; --images with photographs of yours is a better test")
        agreement = own.write(out)
    say(f"agreement   with PyTorch on {agreement.in_words}")
    if agreement.decides_otherwise:
        said = f"scores differ by more than their median is from the threshold ({agreement.median_from_threshold:.2g})"
        PlainConsole().print_line(f"warning     {said}: decisions will differ from those of predict", style="bold red")
    say(f"wrote {out}; python {out / f'run_{to.value}.py'} photo.png")


def _check_place(out: Path) -> None:
    """Raise `UserError` where the folder cannot be new, before anything is made."""
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise UserError("is there already, and not empty", where=str(out), fix="name another folder with --out")
