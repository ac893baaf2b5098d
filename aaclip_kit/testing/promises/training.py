"""What a loss and a loop scheduler promise."""

from typing import Final

from .form import Promises

LOSS: Final[Promises] = {
    "L2-needs-what-is-made": (
        "The factory makes a Loss without parameters, whose `needs` names inputs that there are, at least one of which "
        "a phase trains.",
        "choose from level_probabilities, text_features, detection_logits, masks and labels",
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

SCHEDULER: Final[Promises] = {
    "C2-gives-plans": (
        "next_loop(history) returns a LoopPlan of at least one phase, or None, at once where nothing is trained.",
        "return LoopPlan((PhasePlan(...), ...)), and None only once the last loop is in the history",
    ),
    "C3-comes-to-an-end": (
        "After at most 100 loops it returns None.",
        "count the loops that are done with len(history), and return None once they are enough",
    ),
    "C4-plans-are-valid": (
        "Every plan is plain data: train 'text', 'vision' or 'both', epochs and batch at least 1, rates finite and "
        "above 0, and the choices that the plan's types name.",
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
