"""The contract of a loss. What needs torch is in the modules that the checks name."""

from __future__ import annotations

from typing import Final

from ..check import Check
from ..options import options_check


def _check(id: str, name: str, promise: str, mend: str, function: str) -> Check:
    return Check("loss", id, name, promise, mend, f"{__name__}.{function}")


CHECKS: Final = (
    options_check("loss", "L1"),
    _check(
        "L2",
        "needs-what-is-made",
        "The factory makes a Loss without parameters, whose `needs` names inputs that one phase makes, at least one of "
        "which that phase trains.",
        "choose from level_probabilities, text_features, detection_logits (vision phase only), masks and labels",
        "terms:needs_what_is_made",
    ),
    _check(
        "L3",
        "gives-scalar-terms",
        "forward returns a dict of at least one term, each a floating-point tensor without dimensions.",
        "reduce each term with mean() or sum(), and return {'name': term}",
        "terms:gives_scalar_terms",
    ),
    _check(
        "L4",
        "finite-at-the-edges",
        "The terms and their gradients are finite at probabilities of exactly 0 and 1, for batches that are all normal "
        "and all anomalous.",
        "keep logarithms and quotients away from 0 with clamp(min=...) or an addend, and allow for an empty selection",
        "edges:finite_at_the_edges",
    ),
    _check(
        "L5",
        "takes-any-batch",
        "A batch of one image and any number of levels are accepted.",
        "squeeze a named dimension only, and loop over level_probabilities.items()",
        "edges:takes_any_batch",
    ),
    _check(
        "L6",
        "gradient-reaches-what-is-trained",
        "A finite gradient reaches an input that the phase trains.",
        "use no argmax, comparison or detach between the inputs and the term",
        "gradients:gradient_reaches_what_is_trained",
    ),
    _check(
        "L7",
        "changes-nothing-in-place",
        "Predictions and targets are shared with other losses and are not written to.",
        "make new tensors: no method whose name ends in '_' and no assignment to an index of an argument",
        "repeatability:changes_nothing_in_place",
    ),
    _check(
        "L8",
        "same-inputs-same-terms",
        "The same inputs give the same terms, call after call.",
        "draw no random number, and keep no state between calls",
        "repeatability:same_inputs_same_terms",
    ),
    _check(
        "L9",
        "takes-bf16",
        "Predictions in bfloat16 give finite terms within 5 % of those in float32.",
        "compute in float32 at least: predictions.float()",
        "precision:takes_bf16",
    ),
    _check(
        "L10",
        "trains-in-a-run",
        "In a run its terms are finite and the weights of the phase change.",
        "see the error; `aakit --debug run` on an experiment with this loss shows the whole traceback",
        "training:trains_in_a_run",
    ),
    _check(
        "L11",
        "mean-where-it-says-so",
        'over_batch is "joint", or "mean", and then each term of a batch is the mean of its parts\' terms, weighted by '
        "their images.",
        'set over_batch = "joint", which is right for every loss; or make each term a mean over the images',
        "terms:mean_where_it_says_so",
    ),
)
