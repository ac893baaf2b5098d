"""What each key of an experiment file acts on, as the schema says beside it; every list of keys comes from here."""

from collections.abc import Iterator, Sequence
from functools import cache

from pydantic import BaseModel

from ..contracts.errors import UserError
from .schema import ActsOn, ExperimentFile


@cache
def effects() -> dict[str, frozenset[str]]:
    """Return what each key acts on, by TABLE.KEY; a component's table is one key, as are its options."""
    return dict(_effects(ExperimentFile, ""))


def acts_on(key: str, *kinds: ActsOn) -> bool:
    """Return whether a key, or the key whose table it lies in, acts on any of these; an unknown one acts on none."""
    parts = key.split(".")
    owners = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return any(effects()[owner] & set(kinds) for owner in owners if owner in effects())


def keys_acting_on(*kinds: ActsOn) -> list[str]:
    """Return the keys that act on any of these, in the order of the schema."""
    return [key for key, found in effects().items() if found & set(kinds)]


def check_overrides(overrides: Sequence[str], *kinds: ActsOn) -> None:
    """Raise `UserError` for a `--set` of a key that acts on none of these: on a trained model it would do nothing."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not (acts_on(key, *kinds) or any(one.startswith(f"{key}.") for one in keys_acting_on(*kinds))):
            problem = f"{key} has no effect on a model that is trained already"
            fix = f"these keys have one: {', '.join(keys_acting_on(*kinds))}"
            raise UserError(problem, where=f"--set {override}", fix=fix)


def _effects(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, frozenset[str]]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _effects(info.annotation, f"{prefix}{name}.")
        elif isinstance(info.json_schema_extra, dict):
            yield f"{prefix}{name}", frozenset(map(str, info.json_schema_extra["acts_on"]))  # type: ignore[arg-type]
