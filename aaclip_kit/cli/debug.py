"""Whether `aakit --debug ...` was asked for."""


class _Debug:
    on = False


def set_debugging(on: bool) -> None:
    """Called once, before the command runs."""
    _Debug.on = on


def debugging() -> bool:
    """Whether tracebacks are shown."""
    return _Debug.on
