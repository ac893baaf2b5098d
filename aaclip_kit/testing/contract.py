"""What a component of each kind promises, line by line, and how a fault is mended: data, read without torch.

Each promise stands under its label, id and name, beside the module of this package that tries it; there the function
that does bears the promise's name. The tables of docs/plugins/kinds are made of this.
"""

from typing import Final

from ..plugin_host.registry import Kind

Promises = dict[str, tuple[str, str]]
"""Label, such as "S2-builds-at-any-width", to the contract's line and how to mend what breaks it."""


def _options(letter: str, model: str) -> Promises:
    return {
        f"{letter}1-options-explain-themselves": (
            f"The options are {model} model with a docstring and a description for each field; unknown keys are "
            "errors.",
            f"subclass {model.split()[1]}, describe the model and every Field, and leave model_config as it is",
        ),
    }


_STAGE_FORWARD: Promises = {
    "S2-builds-at-any-width": (
        "The factory makes an AttentionStage for whatever widths its StageSetting tells it, with a context_kind of "
        "'none', 'image' or 'text' ('text' in the vision tower only).",
        "take every width from the setting (width, text_width, image_context_width) and write none down; give "
        "the check options that fit widths of 32 times 1 to 5, such as heads = 4",
    ),
    "S3-keeps-the-shape": (
        "forward(tokens, context) returns finite tokens in the shape that it got, for any number of items, tokens and "
        "context tokens, with and without a mask.",
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

_STAGE_INDEPENDENCE: Promises = {
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

_STAGE_TRAINING: Promises = {
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
    "S18-trains-in-a-run": (
        "In a run its parameters change and stay finite, and the checkpoint that the run writes gives the same results "
        "when it is loaded.",
        "see the error; `aakit --debug run` on an experiment with this stage shows the whole traceback",
    ),
}

_STAGE_DEVICE: Promises = {
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

_BACKBONE: Promises = {
    "B2-says-its-sizes": (
        "The factory makes a Backbone that states its towers, embedding_width, image_size, grid, prefix_tokens, "
        "context_length, the image statistics (three finite numbers each, deviations above 0) and surgery_start within "
        "the vision tower. Without a text tower text is None, and has_text of its BackboneOptions is False.",
        "set every attribute of Backbone in __init__, from the model's own configuration",
    ),
    "B3-walk-gives-those-sizes": (
        "Walked block by block, each tower gives the shapes that the sizes say: prefix_tokens vision tokens, the class "
        "token first, then grid * grid patches; rule_features has a row for each patch.",
        "compare each method's shapes with the legend in aaclip_kit/contracts/backbone.py",
    ),
    "B4-tokenizer-pads-with-zeros": (
        "tokenize gives integers [P, T], different for different prompts, zero after the end-of-text token, whose "
        "position end_of_text gives; a prompt longer than the context length raises UserError.",
        "pad with 0, count positions from 0, and raise UserError(problem, fix=...) in place of cutting a prompt",
    ),
    "B5-text-is-causal": (
        "A text token depends on none after it, so that prompts may be cut after the last end-of-text token; prompts "
        "do not see one another.",
        "mask the text blocks' attention causally, and let embed_text take fewer tokens than the context length",
    ),
    "B6-images-are-independent": (
        "With surgery 'none' and 'tokens', an image's features do not depend on the other images of the batch.",
        "attend within an image: the first dimension is the batch",
    ),
    "B7-surgery-acts": (
        "Every surgery mode ('none', 'tokens', 'batch') gives finite tokens of the same shape, and each its own.",
        "put V-V attention in place of the block's own where `surgery` asks for it, over an image's tokens or over the "
        "batch",
    ),
    "B8-frozen-features-repeat": (
        "In evaluation mode features are finite and depend on no random number.",
        "leave dropout to nn.Dropout, which evaluation switches off",
    ),
    "B9-weights-are-all": (
        "What its features depend on is in the state dict (or made by the options alone).",
        "register weights as parameters or buffers, and modules in ModuleList or ModuleDict",
    ),
    "B10-gradients-pass-through": (
        "With its parameters frozen, gradients still pass through each tower to the tokens that it is given.",
        "use no no_grad and no detach in the walk",
    ),
    "B11-serves-a-run": (
        "With a text tower, a run with stages in both towers trains on it, and its own weights stay as they are.",
        "see the error; `aakit --debug run` on an experiment with this backbone shows the whole traceback",
    ),
}

_LOSS: Promises = {
    "L2-needs-what-is-made": (
        "The factory makes a Loss without parameters, whose `needs` names inputs that one phase makes, at least one of "
        "which that phase trains.",
        "choose from level_probabilities, text_features, detection_logits (vision phase only), masks and labels",
    ),
    "L3-gives-scalar-terms": (
        "forward returns a dict of at least one term, each a floating-point tensor without dimensions.",
        "reduce each term with mean() or sum(), and return {'name': term}",
    ),
    "L4-finite-at-the-edges": (
        "The terms and their gradients are finite at probabilities of exactly 0 and 1, for batches that are all normal "
        "and all anomalous.",
        "keep logarithms and quotients away from 0 with clamp(min=...) or an addend, and allow for an empty selection",
    ),
    "L5-takes-any-batch": (
        "A batch of one image and any number of levels are accepted.",
        "squeeze a named dimension only, and loop over level_probabilities.items()",
    ),
    "L6-gradient-reaches-what-is-trained": (
        "A finite gradient reaches an input that the phase trains.",
        "use no argmax, comparison or detach between the inputs and the term",
    ),
    "L7-changes-nothing-in-place": (
        "Predictions and targets are shared with other losses and are not written to.",
        "make new tensors: no method whose name ends in '_' and no assignment to an index of an argument",
    ),
    "L8-same-inputs-same-terms": (
        "The same inputs give the same terms, call after call.",
        "draw no random number, and keep no state between calls",
    ),
    "L9-takes-bf16": (
        "Predictions in bfloat16 give finite terms within 5 % of those in float32.",
        "compute in float32 at least: predictions.float()",
    ),
    "L10-trains-in-a-run": (
        "In a run its terms are finite and the weights of the phase change.",
        "see the error; `aakit --debug run` on an experiment with this loss shows the whole traceback",
    ),
    "L11-mean-where-it-says-so": (
        'over_batch is "joint", or "mean", and then each term of a batch is the mean of its parts\' terms, weighted by '
        "their images.",
        'set over_batch = "joint", which is right for every loss; or make each term a mean over the images',
    ),
}

_SCHEDULER: Promises = {
    "C2-gives-plans": (
        "next_loop(history) returns a LoopPlan of at least one phase, or None; the first answer is a plan.",
        "return LoopPlan((PhasePlan(...), ...)), and None only once the last loop is in the history",
    ),
    "C3-comes-to-an-end": (
        "After at most 100 loops it returns None.",
        "count the loops that are done with len(history), and return None once they are enough",
    ),
    "C4-plans-are-valid": (
        "Every plan is plain data: towers 'text' and 'vision', epochs and batch at least 1, rates finite and above 0, "
        "and the choices that the plan's types name.",
        "see aaclip_kit/contracts/schedule.py for what each field may be; round epochs to whole numbers of at least 1",
    ),
    "C5-same-history-same-plan": (
        "next_loop depends on the history that it is given alone: it is asked again, and out of order.",
        "keep no count and no state between calls; read everything from `history`",
    ),
    "C6-copes-without-validation": (
        "A record without validation figures, and figures that are None or unknown, are no error, and the plans still "
        "come to an end.",
        "use record.validation.get(name), and decide what None means",
    ),
    "C7-needs-no-torch": (
        "It is built and asked without torch being imported.",
        "import nothing that imports torch in the module of the scheduler, or in that of the plugin",
    ),
    "C8-leads-a-run": (
        "A run follows its plans and ends.",
        "see the error; `aakit --debug run` on an experiment with this scheduler shows the whole traceback",
    ),
}

_DATA_SET: Promises = {
    "D2-gives-samples": (
        "The factory gives a DataSet with a tuple of at least one Sample, a known domain, and only UserErrors "
        "as faults.",
        "return DataSet(samples=tuple(...), real_names={...}); raise UserError where there is nothing to read",
    ),
    "D3-labels-are-0-or-1": (
        "A label is 0 for a normal image, which has no mask, or 1 for an anomalous one.",
        "give Sample a label of 0 or 1, an int, and a mask with label 1 only",
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
        "Every image and mask is a file that decodes, the mask in its image's size.",
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

PROMISES: Final[dict[Kind, dict[str, Promises]]] = {
    "attention-stage": {
        "subject": _options("S", "a StageOptions"),
        "attention_stage.forward": _STAGE_FORWARD,
        "attention_stage.independence": _STAGE_INDEPENDENCE,
        "attention_stage.training": _STAGE_TRAINING,
        "attention_stage.device": _STAGE_DEVICE,
    },
    "backbone": {"subject": _options("B", "an Options"), "backbone": _BACKBONE},
    "loss": {"subject": _options("L", "an Options"), "loss": _LOSS},
    "scheduler": {"subject": _options("C", "an Options"), "scheduler": _SCHEDULER},
    "data-set": {"subject": _options("D", "an Options"), "data_set": _DATA_SET},
}
"""The modules of this package that try each kind, with the promises that each tries."""
