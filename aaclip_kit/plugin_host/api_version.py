"""The version of the public API, and what a plugin may ask of it."""

import re
from typing import Any, Final

API_VERSION: Final = "2.2"
"""Version of what plugins may use, MAJOR.MINOR: a new minor one adds, a new major one changes or takes away."""

STATED: Final = "AAKIT_API"
"""The module variable in which a plugin states the lowest API version that it works with."""


def check_api(module: Any) -> None:
    """Raise ImportError where a plugin states an API version that is not served; without one it is taken to work."""
    needed = getattr(module, STATED, None)
    if needed is None:
        return
    if not (isinstance(needed, str) and re.fullmatch(r"\d+\.\d+", needed)):
        raise ImportError(f'{STATED} is {needed!r}; it must be a text such as "{API_VERSION}"')
    asked, own = (tuple(map(int, version.split("."))) for version in (needed, API_VERSION))
    if asked > own:
        raise ImportError(f"needs API {needed} of aaclip_kit, and this one has {API_VERSION}; upgrade aaclip-kit")
    if asked[0] < own[0]:
        raise ImportError(f"is written for API {needed} of aaclip_kit, and this one has {API_VERSION}; upgrade it")
