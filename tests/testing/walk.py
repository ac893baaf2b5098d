"""Running the checks of a component without pytest."""

from __future__ import annotations

from aaclip_kit.testing import Broken, checks_of
from aaclip_kit.testing.subject import NotApplicable, Subject


def first_broken(subject: Subject, last: str | None = None) -> Broken | None:
    """What the checks up to `last` (or all) come to."""
    for check in checks_of(subject.component.kind):
        try:
            check.run(subject)
        except NotApplicable:
            pass
        except Broken as broken:
            return broken
        if check.id == last:
            break
    return None
