"""What a reference promises."""

from typing import Final

from .form import Promises

REFERENCE: Final[Promises] = {
    "R2-says-what-it-reads": (
        "The factory makes a Reference without parameters whose reads are Reads, whose levels ascend from 1 on, and "
        "whose bank_depends_on is plain data.",
        "set reads and levels in __init__, such as options.levels or setting.levels; train nothing",
    ),
    "R3-fills-a-bank": (
        "fill gives tensors by name, finite, of one image and of several, as a file holds them.",
        "return a dict of tensors of numbers; raise UserError for images that no bank can be made of",
    ),
    "R4-order-does-not-matter": (
        "The bank of some images is the same to the last bit in any order, one by one, in batches, and where some are "
        "added to a bank later.",
        "keep what each image says by itself, sort the images by their numbers, and compute what is of all from that",
    ),
    "R5-gives-answers": (
        "answer gives an Answer in float32, grid [B, G, G] and detection [B], finite and not below 0, for any batch.",
        "measure a distance, clamp it at 0, and compute in float32",
    ),
    "R6-remembers": (
        "An image of the bank is nearer than one that is unlike all of them, in grid and detection.",
        "compare with the bank, and give larger values to what is farther",
    ),
    "R7-images-are-independent": (
        "An image's answer depends on its own tokens and the bank only.",
        "do not mix along the first dimension, and take no minimum or maximum over the batch",
    ),
    "R8-combines": (
        "combine gives Scores in float32, grid [B, G, G], maps [B, S, S], detection [B], finite, smoothed or not, and "
        "the answer acts on each.",
        "take sizes from the scores that are given, and use both the answer's grid and its detection",
    ),
    "R9-changes-nothing-in-place": (
        "Tokens, banks, scores and answers belong to the engine and are not written to.",
        "make new tensors: no method whose name ends in '_' and no assignment to an index of an argument",
    ),
    "R10-draws-nothing": (
        "What is remembered and answered depends on no random number but those of its own seed.",
        "draw with a torch.Generator of your own, seeded by an option",
    ),
    "R11-bank-holds-all": (
        "A reference that has filled nothing answers by a bank from a file as the one that filled it.",
        "keep nothing on the object in fill: put it into the bank",
    ),
    "R12-backbone-stays-as-it-is": (
        "The backbone is no part of the reference, and its weights stay as they are.",
        "take what is needed of setting.backbone in __init__ and do not keep it as an attribute",
    ),
    "R13-bf16-is-near": (
        "Tokens in bfloat16 under autocast give a bank and answers within 5 % of those in float32.",
        "compute in float32: tokens.float(), outside of autocast",
    ),
    "R14-serves-a-run": (
        "A run scores with it, and the model that is loaded from the run's folder scores as the run did.",
        "see the error; `aakit --debug run` on an experiment with this reference shows the whole traceback",
    ),
}
