"""What an attention stage promises."""

from typing import Final

from .form import Promises

STAGE_FORWARD: Final[Promises] = {
    "S2-builds-at-any-width": (
        "The factory makes an AttentionStage for whatever widths its StageSetting tells it, with a context_kind of "
        "'none', 'image', 'text' or 'class' (in the text tower 'none' or 'image', and nothing inserted).",
        "take every width from the setting (width, text_width, image_context_width) and write none down; give "
        "the check options that fit widths of 32 times 1 to 5, such as heads = 4",
    ),
    "S3-keeps-the-shape": (
        "forward(tokens, context) returns finite tokens in the shape that it got, and behind them as many as `inserts` "
        "says, for any number of items, tokens and context tokens, with and without a mask.",
        "read sizes from the arguments; where items share context rows use context.expanded(len(tokens)), and allow "
        "for a mask of None",
    ),
    "S4-changes-nothing-in-place": (
        "Tokens, context and mask belong to the engine and are not written to.",
        "make new tensors: no method whose name ends in '_' and no assignment to an index of an argument",
    ),
    "S16-scale-0-is-identity": (
        "Where the options have a `scale`, 0 leaves the tokens as they are; a scale that is learnt, where it begins.",
        "multiply the whole update by the scale, begin a learnt one at the option, and keep the tokens' own share at 1",
    ),
    "S17-attention-weights-are-weights": (
        "attention_weights, where offered, gives [items, heads, L, M], not negative, summing to 1 over M, 0 where the "
        "mask is false, without dropout, and leaves forward as it is.",
        "take the softmax over the context tokens after masking, before any dropout, from expanded context rows",
    ),
}

STAGE_INDEPENDENCE: Final[Promises] = {
    "S9-rows-serve-items-in-a-row": (
        "A context row serves items / rows items in a row, or where the stage reads_row_of, those that row_of names: "
        "sharing it gives what a copy for each item gives.",
        "use context.expanded(len(tokens)), or reshape [items, L, D] to [rows, items / rows * L, D]; leave "
        "reads_row_of as it is unless forward goes by row_of",
    ),
    "S10-items-are-independent": (
        "An item's result depends on its own tokens and its own context row only.",
        "do not mix along the first dimension: attend within an item, and normalise over channels",
    ),
    "S11-gradients-stay-within-an-item": (
        "In training too, an item's result depends on its own tokens and its own context row only.",
        "use layer norm in place of batch norm, and no statistic of the batch",
    ),
    "S12-mask-is-obeyed": (
        "Context tokens whose mask is false have no effect, and a mask that is true everywhere is the same as None.",
        "give masked tokens the weight 0: pass the mask to the attention, or fill scores with -inf where it is false",
    ),
    "S19-text-tokens-look-at-no-later-ones": (
        "In the text tower, what stands after a token has no effect on it: prompts are cut after the last end-of-text "
        "of their batch.",
        "mix tokens of the text tower causally, or not at all; or allow the stage in the vision tower only",
    ),
}

STAGE_TRAINING: Final[Promises] = {
    "S5-gradient-reaches-the-tokens": (
        "A gradient reaches the tokens of every item from the first step on, so that stages and blocks before this one "
        "learn.",
        "pass the tokens on in a residual sum; do not detach them and do not use no_grad",
    ),
    "S6-every-parameter-learns": (
        "A finite gradient reaches every parameter within the first few optimiser steps.",
        "use every parameter in forward, or do not make it; initialise no two factors of a product to zero at once",
    ),
    "S7-seed-decides": (
        "The same torch seed gives the same weights and, in training, the same result.",
        "draw every random number with torch's own generator, and keep no state between calls",
    ),
    "S8-dropout-in-training-only": (
        "In evaluation the result depends on no random number.",
        "use nn.Dropout modules, or give `training=self.training` and `dropout_p=0.0` outside training",
    ),
    "S13-parameters-are-all-that-is-learnt": (
        "What training or chance sets is in parameters, which are all that a checkpoint holds.",
        "make it an nn.Parameter, hold modules in ModuleList or ModuleDict, and keep no running statistic",
    ),
    "S20-loss-terms-are-scalars": (
        "loss_terms gives a dict, empty where the stage offers none, of finite scalar tensors by name, made by the "
        "last forward, that have gradients.",
        "keep a term as an attribute in forward, without detach, and return {'name': term} from loss_terms",
    ),
    "S18-trains-in-a-run": (
        "In a run its parameters change and stay finite, and the checkpoint that the run writes gives the same results "
        "when it is loaded.",
        "see the error; `aakit --debug run` on an experiment with this stage shows the whole traceback",
    ),
}

STAGE_DEVICE: Final[Promises] = {
    "S14-bf16-is-near": (
        "Under bf16 autocast, tokens in float32 and a context in bfloat16 give a finite result within 5 % of that in "
        "float32.",
        "cast to a common type where tensors meet outside a matrix product (update.to(tokens.dtype))",
    ),
    "S15-stays-on-the-device": (
        "Every tensor is made on the device of the tokens.",
        "pass device=tokens.device to torch.arange, zeros, tensor and the like, or register the tensor as a buffer",
    ),
}
