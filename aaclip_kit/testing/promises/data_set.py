"""What a data set promises."""

from typing import Final

from .form import Promises

DATA_SET: Final[Promises] = {
    "D2-gives-samples": (
        "The factory gives a DataSet with a tuple of at least one Sample, a known domain, and only UserErrors "
        "as faults.",
        "return DataSet(samples=tuple(...), real_names={...}); raise UserError where there is nothing to read",
    ),
    "D3-labels-are-0-or-1": (
        "A label is 0 for a normal image, or 1 for an anomalous one.",
        "give Sample a label of 0 or 1, an int",
    ),
    "D4-classes-are-plain": (
        "A class name is printable text without '/' or '\\', and without blanks at its ends.",
        "make class names of one folder's name, or replace the separators",
    ),
    "D5-classes-have-real-names": (
        "Each class has a real name of words, which the prompts are made of.",
        "name every class in real_names, such as {'metal_nut': 'metal nut'}",
    ),
    "D6-order-repeats": (
        "Read again, the samples are the same, in the same order.",
        "sort what the file system lists, and draw nothing without a seed from the options",
    ),
    "D7-no-image-twice": (
        "No file is the image of two samples, and none is image and mask.",
        "list each file once; a mask is a file of its own",
    ),
    "D8-images-decode": (
        "Every image and mask is a file that decodes, the mask in its image's size, and black for a normal image.",
        "leave out what cannot be read, with a UserError in `faults`, and give masks their image's size",
    ),
    "D9-masks-are-whole": (
        "Of a class, either every anomalous image has a mask or none has, and a mask is not all black.",
        "find the masks of all anomalous images, or give none for the class",
    ),
    "D10-trains-in-a-run": (
        "Where it has masks, a run trains on it and scores it.",
        "see the error; `aakit data check` names what is wrong with the files",
    ),
}
