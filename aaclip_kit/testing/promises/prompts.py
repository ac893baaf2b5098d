"""What prompts promise."""

from typing import Final

from .form import Promises

PROMPTS_FORWARD: Final[Promises] = {
    "P2-makes-prompts-of-any-name": (
        "The factory makes a Prompts; prompts(real_name) gives a sequence of texts, as many for every class and the "
        "same when asked again, the first normal_prompts of them normal, at least one of each state.",
        "return every state in every template, normal ones first, and set normal_prompts in __init__",
    ),
    "P3-keeps-the-shape": (
        "embed gives [items, L, Dt], before_block the shape that it got, project and project_untrained [items, E], and "
        "combine [K, E, 2]: finite, for any number of items, tokens and classes, with an image and without.",
        "read sizes from the arguments, and every width from the setting's backbone",
    ),
    "P4-changes-nothing-in-place": (
        "Tokens and features belong to the engine and are not written to.",
        "make new tensors: torch.cat or torch.where, no method whose name ends in '_' and no assignment to an index",
    ),
    "P9-tokens-may-be-cut": (
        "What stands after the last end-of-text token of a batch has no effect: the engine cuts it off.",
        "change tokens at places that every prompt has, or before its end-of-text token, counted from the start",
    ),
    "P5-evaluation-draws-nothing": (
        "In evaluation features depend on no random number.",
        "use nn.Dropout modules, or draw where self.training is true only",
    ),
    "P14-bf16-is-near": (
        "Under bf16 autocast the text features are finite and within 5 % of those in float32.",
        "cast to a common type where tensors meet outside a matrix product (own.to(tokens.dtype))",
    ),
}

PROMPTS_INDEPENDENCE: Final[Promises] = {
    "P6-classes-are-independent": (
        "The text feature of a class does not depend on the other classes.",
        "average over the prompts of a class only: dimension 1 of combine's features",
    ),
    "P7-images-are-independent": (
        "Prompts that go by the image give each image the text feature that it has alone.",
        "row i of `image` belongs to row i of the tokens: do not mix along the first dimension",
    ),
    "P8-image-acts-where-it-says": (
        "Where conditioned_from is set it is a block of the text tower, the features of two images differ, and without "
        "an image (None) before_block still gives finite tokens.",
        "use `image` in before_block from block conditioned_from on, and return the tokens as they are for None",
    ),
}

PROMPTS_TRAINING: Final[Promises] = {
    "P11-every-parameter-learns": (
        "A finite gradient reaches every parameter within the first few optimiser steps.",
        "use every parameter on the way to the text feature, or do not make it",
    ),
    "P12-seed-decides": (
        "The same seed gives the same weights.",
        'draw first weights with torch alone, `with setting.drawn("name"):` for a stream of their own',
    ),
    "P13-parameters-are-all-that-is-learnt": (
        "What training or chance sets is in parameters, which are all that a checkpoint holds.",
        "make it an nn.Parameter, hold modules in ModuleList or ModuleDict, and keep no running statistic",
    ),
    "P10-backbone-stays-as-it-is": (
        "The backbone is no part of the prompts, and its weights stay as they are and take no gradient.",
        "take what is needed of setting.backbone in __init__ and do not keep it as an attribute; methods are given it",
    ),
    "P15-trains-in-a-run": (
        "In a run their parameters change and stay finite, and the checkpoint that the run writes gives the same "
        "results when it is loaded.",
        "see the error; `aakit --debug run` on an experiment with these prompts shows the whole traceback",
    ),
}
