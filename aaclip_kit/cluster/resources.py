"""What a task is given on a cluster: `--resources cpus=4,gpus=1,partition=long`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..contracts.errors import UserError

WHERE = "--resources"


@dataclass(frozen=True)
class Resources:
    """What one task is given: so many `cpus`, each a thread of its process, and `gpus`; `more` is the place's own."""

    cpus: int = 1
    gpus: int = 0
    more: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "Resources":
        """Read `key=value` pairs between commas. Raises `UserError`."""
        pairs = [part.strip().partition("=") for part in (text or "").split(",") if part.strip()]
        for key, equals, value in pairs:
            if not (key and equals and value):
                raise UserError(f"'{key}{equals}{value}' is no key=value", where=WHERE, fix="give cpus=4,gpus=1")
        given = {key: value for key, _, value in pairs}
        cpus, gpus = whole_number("cpus", given.pop("cpus", "1"), 1), whole_number("gpus", given.pop("gpus", "0"), 0)
        return cls(cpus, gpus, given)

    def only(self, *known: str) -> None:
        """Raise `UserError` for what a place does not know."""
        if other := [key for key in self.more if key not in known]:
            listed = ", ".join(("cpus", "gpus", *known))
            raise UserError(f"there is no resource '{other[0]}' here", where=WHERE, fix=f"known: {listed}")


def whole_number(key: str, value: str, least: int) -> int:
    """Return the value of a key. Raises `UserError` for what is no whole number from `least`."""
    if not (value.isascii() and value.isdecimal() and int(value) >= least):
        raise UserError(
            f"{key}={value} is no whole number from {least}", where=WHERE, fix=f"give {key}={max(least, 1)}"
        )
    return int(value)


def chosen_devices(text: str, visible: str | None) -> tuple[str, ...]:
    """Return the devices that `--devices` means: so many of the visible ones, or those between commas.

    `visible` is what CUDA_VISIBLE_DEVICES says. Raises `UserError`.
    """
    where, fix = "--devices", "give a number such as 4, or a list such as 0,1,2,3"
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names or len(set(names)) < len(names):
        raise UserError(f"'{text}' names no devices, or one twice", where=where, fix=fix)
    if len(names) > 1 or "," in text or not (text.isascii() and text.strip().isdecimal()):
        return names
    count, known = int(text), None if visible is None else [one.strip() for one in visible.split(",") if one.strip()]
    if count < 1 or (known is not None and count > len(known)):
        there = "" if known is None else f", and CUDA_VISIBLE_DEVICES has {len(known)}"
        raise UserError(f"{count} devices are asked for{there}", where=where, fix=fix)
    return tuple(map(str, range(count))) if known is None else tuple(known[:count])
