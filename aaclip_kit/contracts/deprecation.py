"""Public names and keys on their way out: they work for one more minor version at least, and warn."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

_Owner = TypeVar("_Owner")


@dataclass(frozen=True)
class Deprecated:
    """What to use in place of a name, and the API version that drops it; `value` gives what the name stands for."""

    instead: str
    gone_in: str
    value: Callable[[], Any] | None = None


DEPRECATED: dict[str, Deprecated] = {
    "OptimizerPlan.rate": Deprecated("OptimizerPlan.learning_rate", "3.0"),
    "RatePlan.at": Deprecated("RatePlan.at_fractions or RatePlan.at_steps", "3.0"),
    "StageSetting.text_context_width": Deprecated("StageSetting.text_width", "3.0"),
    "Prediction.score": Deprecated("Prediction.pred_score", "3.0"),
    "Prediction.map": Deprecated("Prediction.anomaly_map", "3.0"),
    "Prediction.largest": Deprecated("Prediction.max_value", "3.0"),
    "switches.quoted_loop": Deprecated("switches.reported_loop", "3.0"),
}
"""Names NAME, attributes and arguments CLASS.NAME, and keys TABLE.KEY of experiment files. None is in `__all__`."""


def warn_deprecated(name: str, prefix: str = "", category: type[Warning] = DeprecationWarning, level: int = 3) -> None:
    """Warn, at the line that uses `name`, of when it goes and of what to use instead."""
    entry = DEPRECATED[name]
    text = f"{prefix}{name} will be gone in API {entry.gone_in}; use {entry.instead}"
    warnings.warn(text, category, stacklevel=level)


def deprecated_value(name: str) -> Any:
    """Return what a deprecated name of the package stands for, with a warning at the line that asks for it."""
    warn_deprecated(name, "aaclip_kit.", level=4)
    value = DEPRECATED[name].value
    return None if value is None else value()


def renamed_attribute(name: str, attribute: str) -> Any:
    """Return a property, CLASS.OLD in the table, that warns and gives the attribute which stands in its place."""

    def value(self: Any) -> Any:
        warn_deprecated(name)
        return getattr(self, attribute)

    return property(value, doc=f"Deprecated: use `{attribute}`.")


def renamed_argument(name: str, arguments: Callable[[Any], dict[str, Any]]) -> Callable[[type[_Owner]], type[_Owner]]:
    """Return a decorator for a class that still takes CLASS.OLD; `arguments` makes the new arguments of its value."""
    old = name.partition(".")[2]

    def decorate(kind: type[_Owner]) -> type[_Owner]:
        construct: Callable[..., None] = kind.__init__

        @wraps(construct)
        def init(self: Any, *args: Any, **named: Any) -> None:
            if old in named:
                warn_deprecated(name)
                named |= arguments(named.pop(old))
            construct(self, *args, **named)

        kind.__init__ = init  # type: ignore[method-assign]
        return kind

    return decorate
