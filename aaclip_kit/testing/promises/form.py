"""The form of a promise, and the one about options that every kind has."""

Promises = dict[str, tuple[str, str]]
"""Label, such as "S2-builds-at-any-width", to the contract's line and how to mend what breaks it."""


def options_promise(letter: str, model: str) -> Promises:
    """Return the first promise of a kind, whose ids begin with `letter`."""
    return {
        f"{letter}1-options-explain-themselves": (
            f"The options are {model} model with a docstring and a description for each field; unknown keys are "
            "errors.",
            f"subclass {model.split()[1]}, describe the model and every Field, and leave model_config as it is",
        ),
    }
