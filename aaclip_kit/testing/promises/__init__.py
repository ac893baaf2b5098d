"""What a component of each kind promises, line by line, and how a fault is mended: data, read without torch.

Each promise stands under its label, id and name, beside the module of the kit that tries it; there the function that
does bears the promise's name. The tables of docs/plugins/kinds are made of this.
"""

from typing import Final

from ...plugin_host.registry import Kind
from .backbone import BACKBONE
from .data_set import DATA_SET
from .form import Promises, options_promise
from .head import HEAD_FORWARD, HEAD_INDEPENDENCE, HEAD_SCORES, HEAD_TRAINING
from .prompts import PROMPTS_FORWARD, PROMPTS_INDEPENDENCE, PROMPTS_TRAINING
from .reference import REFERENCE
from .stage import STAGE_DEVICE, STAGE_FORWARD, STAGE_INDEPENDENCE, STAGE_TRAINING
from .tracker import TRACKER
from .training import LOSS, SCHEDULER

PROMISES: Final[dict[Kind, dict[str, Promises]]] = {
    "backbone": {"subject": options_promise("B", "an Options"), "backbone": BACKBONE},
    "prompts": {
        "subject": options_promise("P", "an Options"),
        "prompts.forward": PROMPTS_FORWARD,
        "prompts.independence": PROMPTS_INDEPENDENCE,
        "prompts.training": PROMPTS_TRAINING,
    },
    "attention-stage": {
        "subject": options_promise("S", "a StageOptions"),
        "attention_stage.forward": STAGE_FORWARD,
        "attention_stage.independence": STAGE_INDEPENDENCE,
        "attention_stage.training": STAGE_TRAINING,
        "attention_stage.device": STAGE_DEVICE,
    },
    "head": {
        "subject": options_promise("H", "an Options"),
        "head.forward": HEAD_FORWARD,
        "head.scores": HEAD_SCORES,
        "head.independence": HEAD_INDEPENDENCE,
        "head.training": HEAD_TRAINING,
    },
    "reference": {"subject": options_promise("R", "an Options"), "reference": REFERENCE},
    "loss": {"subject": options_promise("L", "an Options"), "loss": LOSS},
    "scheduler": {"subject": options_promise("C", "an Options"), "scheduler": SCHEDULER},
    "data-set": {"subject": options_promise("D", "an Options"), "data_set": DATA_SET},
    "tracker": {"subject": options_promise("T", "an Options"), "tracker": TRACKER},
}
"""The modules of the kit that try each kind, with the promises that each tries."""
