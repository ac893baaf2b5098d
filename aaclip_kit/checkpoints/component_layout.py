"""Published checkpoints whose tensors belong to the prompts, the head or a stage by the names that those give."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from ..contracts.errors import UserError
from ..experiment import Experiment
from ..files.weights_file import read_weights, without_wrappers
from ..model.anomaly_model import AnomalyModel
from ..plugin_host.registry import Component, Registry
from .checkpoint import check_fit, check_numbers, is_weight


def read_tables(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Read the tensors of files by key; those of a table have its name before theirs: TABLE.KEY.

    Raises `UserError` for a file that is missing or holds more than weights, and for a key that two files hold.
    """
    tensors: dict[str, Tensor] = {}
    for path in paths:
        if not path.is_file():
            raise UserError("there is no such file", where=str(path), fix="give a published checkpoint")
        for key, value in _flat(read_weights(path)):
            if key in tensors:
                raise UserError(f"holds {key} twice", where=str(path), fix="give the files of one checkpoint alone")
            tensors[key] = value
    return tensors


def component_state(
    tensors: Mapping[str, Tensor], model: AnomalyModel, where: str, others: str | None = None
) -> tuple[dict[str, Tensor], list[str]]:
    """A checkpoint of ours from published tensors, and the keys that no parameter stands for.

    `others` is what the file is of, where that is known. Raises `UserError` unless every other tensor lands in its
    shape, and nothing lacks.
    """
    names, patterns = model.published_names(), model.published_unused
    unused = [key for key in tensors if any(fnmatchcase(key, pattern) for pattern in patterns)]
    kept = {key: value for key, value in tensors.items() if key not in unused}
    if others is not None and not kept.keys() & set(names.values()):
        raise UserError(f"is a checkpoint of {others}, which the experiment does not have", where=where, fix=_FIX)
    if odd := next((key for key, value in kept.items() if not is_weight(value)), None):
        raise UserError(f"{odd} is no tensor of weights", where=where, fix="give a published checkpoint")
    parameters = model.all_trained_parameters()
    check_fit(kept, {names[own]: parameters[own] for own in names}, where, _FIX)
    check_numbers(kept, where)
    return {own: kept[key] for own, key in names.items()}, unused


_FIX = "name the experiment of the published run with --experiment"


def known_component(paths: Sequence[Path], registry: Registry) -> Component | None:
    """The component whose published checkpoints have keys such as these files; None where none says so."""
    given: list[str] = []
    with suppress(UserError):  # whoever reads them next says what is wrong with them
        given += read_tables(paths)
    for component in registry.components.values():
        if any(fnmatchcase(key, pattern) for pattern in component.options.published_keys for key in given):
            return component
    return None


def uses(experiment: Experiment, component: Component) -> bool:
    """Whether an experiment has a component."""
    chosen = (experiment.prompts, experiment.head, *experiment.stages.values())
    return any(one.component == component for one in chosen)


def _flat(content: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items() if isinstance(content, dict) else ():
        key = f"{before}{without_wrappers(str(name))}"
        if isinstance(value, dict):
            yield from _flat(value, f"{key}.")
        elif isinstance(value, Tensor):
            yield key, value
