"""The loop schedulers: `feedback`, `base` and `v2` (method: section 7). Plain data; nothing here needs torch."""

from __future__ import annotations

from aaclip_kit import Register, hookimpl

from .base import BaseOptions
from .feedback import FeedbackOptions
from .v2 import V2Options


@hookimpl
def register_schedulers(register: Register) -> None:
    """Offer the three schedulers."""
    register("feedback", f"{__name__}.feedback:FeedbackScheduler", FeedbackOptions)
    register("base", f"{__name__}.base:BaseScheduler", BaseOptions)
    register("v2", f"{__name__}.v2:V2Scheduler", V2Options)
