"""The contract of a loop scheduler. What runs it is in the modules that the checks name."""

from __future__ import annotations

from typing import Final

from ..check import Check
from ..options import options_check


def _check(id: str, name: str, promise: str, mend: str, function: str) -> Check:
    return Check("scheduler", id, name, promise, mend, f"{__name__}.{function}")


CHECKS: Final = (
    options_check("scheduler", "C1"),
    _check(
        "C2",
        "gives-plans",
        "next_loop(history) returns a LoopPlan of at least one phase, or None; the first answer is a plan.",
        "return LoopPlan((PhasePlan(...), ...)), and None only once the last loop is in the history",
        "plans:gives_plans",
    ),
    _check(
        "C3",
        "comes-to-an-end",
        "After at most 100 loops it returns None.",
        "count the loops that are done with len(history), and return None once they are enough",
        "plans:comes_to_an_end",
    ),
    _check(
        "C4",
        "plans-are-valid",
        "Every plan is plain data: towers 'text' and 'vision', epochs and batch at least 1, rates finite and above 0, "
        "and the choices that the plan's types name.",
        "see aaclip_kit/contracts/schedule.py for what each field may be; round epochs to whole numbers of at least 1",
        "values:plans_are_valid",
    ),
    _check(
        "C5",
        "same-history-same-plan",
        "next_loop depends on the history that it is given alone: it is asked again, and out of order.",
        "keep no count and no state between calls; read everything from `history`",
        "plans:same_history_same_plan",
    ),
    _check(
        "C6",
        "copes-without-validation",
        "A record without validation figures, and figures that are None or unknown, are no error, and the plans still "
        "come to an end.",
        "use record.validation.get(name), and decide what None means",
        "plans:copes_without_validation",
    ),
    _check(
        "C7",
        "needs-no-torch",
        "It is built and asked without torch being imported.",
        "import nothing that imports torch in the module of the scheduler, or in that of the plugin",
        "torchless:needs_no_torch",
    ),
    _check(
        "C8",
        "leads-a-run",
        "A run follows its plans and ends.",
        "see the error; `aakit --debug run` on an experiment with this scheduler shows the whole traceback",
        "training:leads_a_run",
    ),
)
