"""What a head promises."""

from typing import Final

from .form import Promises

HEAD_FORWARD: Final[Promises] = {
    "H2-says-what-it-reads-and-makes": (
        "The factory makes a Head whose reads (and untrained_reads, if any) are Reads, whose makes are among "
        "level_probabilities and detection_logits, and whose shown ascends.",
        "set reads as a class attribute or in __init__, and makes, needs_text and shown where they differ from Head's",
    ),
    "H3-features-have-their-shape": (
        "features, untrained_features and for_text give ImageFeatures of the levels that came, [B, N, F] each, finite; "
        "a level's do not depend on which others are there. Where the head needs text, for_text and untrained_features "
        "give width E, which text stages attend to.",
        "loop over tokens.levels.items(), and read sizes from the tensors",
    ),
    "H4-gives-what-it-makes": (
        "level_probabilities gives [B, 2, size, size] by level, detection_logits [B, 2], finite, for any batch and "
        "size and for features of the last level alone, where the head's makes has them.",
        "enlarge with softmax_maps or upsampled to the size that is given, take what levels there are from "
        "features.levels, and leave out of makes what it does not give",
    ),
    "H5-probabilities-sum-to-one": (
        "level_probabilities are not negative and sum to 1 over (normal, abnormal) at every pixel.",
        "end with a softmax over dimension 1, such as that of softmax_maps",
    ),
    "H7-changes-nothing-in-place": (
        "Tokens, features and text belong to the engine, which keeps some of them, and are not written to.",
        "make new tensors: no method whose name ends in '_' and no assignment to an index of an argument",
    ),
}

HEAD_SCORES: Final[Promises] = {
    "H6-scores-images": (
        "score gives Scores in float32, grid [B, G, G], maps [B, size, size], detection [B], finite, in both domains, "
        "with smooth and without, from trained features and untrained ones; map_probability of a map's values is "
        "within 0 and 1.",
        "compute in float32 outside autocast, leave the blur out without `smooth`, and where maps are no probabilities "
        "override map_probability",
    ),
    "H8-evaluation-draws-nothing": (
        "In evaluation predictions and scores depend on no random number.",
        "use nn.Dropout modules, or draw where self.training is true only",
    ),
    "H16-bf16-is-near": (
        "Tokens in bfloat16 under autocast give finite predictions, and scores in float32, within 5 % of those in "
        "float32.",
        "take similarities in float32 (patches.float() @ text.float()) before a temperature multiplies them",
    ),
}

HEAD_INDEPENDENCE: Final[Promises] = {
    "H9-items-are-independent": (
        "An image's predictions and scores depend on its own tokens and its own text feature only.",
        "do not mix along the first dimension, and normalise over channels or within an image",
    ),
    "H10-text-acts-where-it-is-needed": (
        "A head with needs_text depends on the text features; one without is given None and works.",
        "compare with text, or set needs_text = False",
    ),
}

HEAD_TRAINING: Final[Promises] = {
    "H11-gradient-reaches-tokens-and-text": (
        "A finite gradient of what the head makes reaches the tokens that it reads, and text features where it needs "
        "them, from the first step on, so that stages and prompts learn.",
        "use no argmax, comparison, detach or no_grad between them and the predictions",
    ),
    "H13-every-parameter-learns": (
        "A finite gradient reaches every parameter within the first few optimiser steps.",
        "use every parameter on the way to what the head makes, or do not make it",
    ),
    "H14-seed-decides": (
        "The same seed gives the same weights.",
        'draw first weights with torch alone, `with setting.drawn("name"):` for a stream of their own',
    ),
    "H15-parameters-are-all-that-is-learnt": (
        "What training or chance sets is in parameters, which are all that a checkpoint holds.",
        "make it an nn.Parameter, hold modules in ModuleList or ModuleDict, and keep no running statistic",
    ),
    "H12-backbone-stays-as-it-is": (
        "The backbone is no part of the head, and its weights stay as they are and take no gradient.",
        "take what is needed of setting.backbone in __init__ and do not keep it as an attribute",
    ),
    "H17-trains-in-a-run": (
        "In a run its parameters change and stay finite, and the checkpoint that the run writes gives the same results "
        "when it is loaded.",
        "see the error; `aakit --debug run` on an experiment with this head shows the whole traceback",
    ),
}
