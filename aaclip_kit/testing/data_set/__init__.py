"""The contract of a data set. What reads images is in the modules that the checks name."""

from __future__ import annotations

from typing import Final

from ..check import Check
from ..options import options_check


def _check(id: str, name: str, promise: str, mend: str, function: str) -> Check:
    return Check("data-set", id, name, promise, mend, f"{__name__}.{function}")


CHECKS: Final = (
    options_check("data-set", "D1"),
    _check(
        "D2",
        "gives-samples",
        "The factory gives a DataSet with a tuple of at least one Sample, a known domain, and only UserErrors "
        "as faults.",
        "return DataSet(samples=tuple(...), real_names={...}); raise UserError where there is nothing to read",
        "samples:gives_samples",
    ),
    _check(
        "D3",
        "labels-are-0-or-1",
        "A label is 0 for a normal image, which has no mask, or 1 for an anomalous one.",
        "give Sample a label of 0 or 1, an int, and a mask with label 1 only",
        "samples:labels_are_0_or_1",
    ),
    _check(
        "D4",
        "classes-are-plain",
        "A class name is printable text without '/' or '\\', and without blanks at its ends.",
        "make class names of one folder's name, or replace the separators",
        "samples:classes_are_plain",
    ),
    _check(
        "D5",
        "classes-have-real-names",
        "Each class has a real name of words, which the prompts are made of.",
        "name every class in real_names, such as {'metal_nut': 'metal nut'}",
        "samples:classes_have_real_names",
    ),
    _check(
        "D6",
        "order-repeats",
        "Read again, the samples are the same, in the same order.",
        "sort what the file system lists, and draw nothing without a seed from the options",
        "samples:order_repeats",
    ),
    _check(
        "D7",
        "no-image-twice",
        "No file is the image of two samples, and none is image and mask.",
        "list each file once; a mask is a file of its own",
        "samples:no_image_twice",
    ),
    _check(
        "D8",
        "images-decode",
        "Every image and mask is a file that decodes, the mask in its image's size.",
        "leave out what cannot be read, with a UserError in `faults`, and give masks their image's size",
        "pictures:images_decode",
    ),
    _check(
        "D9",
        "masks-are-whole",
        "Of a class, either every anomalous image has a mask or none has, and a mask is not all black.",
        "find the masks of all anomalous images, or give none for the class",
        "pictures:masks_are_whole",
    ),
    _check(
        "D10",
        "trains-in-a-run",
        "Where it has masks, a run trains on it and scores it.",
        "see the error; `aakit data check` names what is wrong with the files",
        "training:trains_in_a_run",
    ),
)
