"""The check that every kind shares: an options model explains itself and refuses what it does not know."""

from __future__ import annotations

from pydantic import ValidationError

from ..contracts.options import Options, StageOptions
from ..plugin_host.registry import Kind
from .check import Check, Found
from .subject import Subject

UNKNOWN = "no_such_option"


def options_check(kind: Kind, id: str) -> Check:
    """The first check of every kind."""
    model = "a StageOptions" if kind == "attention-stage" else "an Options"
    return Check(
        kind,
        id,
        "options-explain-themselves",
        f"The options are {model} model with a docstring and a description for each field; unknown keys are errors.",
        f"subclass {model.split()[1]}, describe the model and every Field, and leave model_config as it is",
        f"{__name__}:explain_themselves",
    )


def explain_themselves(subject: Subject) -> None:
    """Docstring, a description for each field, unknown keys refused; `tower` and `after` for a stage."""
    model = subject.component.options
    if subject.component.kind == "attention-stage" and not issubclass(model, StageOptions):
        raise Found(f"{model.__name__} is no subclass of StageOptions: it has no `tower` and no `after`")
    if model.__doc__ is None or model.__doc__ == Options.__doc__ or not model.__doc__.strip():
        raise Found(f"{model.__name__} has no docstring, whose first line `aakit list-plugins` prints")
    if bare := [name for name, field in model.model_fields.items() if not field.description]:
        raise Found(f"{model.__name__} has no description for {', '.join(bare)}")
    try:
        subject.options(**{UNKNOWN: 1})
    except ValidationError as error:
        if any(fault["type"] == "extra_forbidden" for fault in error.errors()):
            return
    raise Found(f"{model.__name__} accepts the key '{UNKNOWN}', which it does not have")
