"""The data sets of a run: built by their plugins, and checked before anything else happens."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from ..contracts.data import DataSet
from ..contracts.errors import UserError
from ..data.checks import Fingerprint, check_data_set, check_disjoint, check_trainable, fingerprint
from ..experiment import Experiment


@dataclass(frozen=True)
class Data:
    """The data sets of a run by role (train, test, and perhaps validation), with their fingerprints."""

    sets: dict[str, DataSet]
    prints: dict[str, Fingerprint]

    @property
    def real_names(self) -> dict[str, str]:
        """Real name of every class of every role."""
        return {name: real for data in self.sets.values() for name, real in data.real_names.items()}


def load_data(experiment: Experiment) -> Data:
    """Build, check and fingerprint the data sets; no two of them may share images."""
    sets: dict[str, DataSet] = {}
    for role, chosen in experiment.data.items():
        sets[role] = chosen.component.build(chosen.options)
        check_data_set(sets[role], f"data.{role}")
    check_trainable(sets["train"], "data.train")
    prints = {role: fingerprint(data) for role, data in sets.items()}
    for first, second in combinations(prints, 2):
        check_disjoint(prints[first], prints[second], (f"data.{first}", f"data.{second}"))
    _check_real_names(sets)
    return Data(sets, prints)


def _check_real_names(sets: Mapping[str, DataSet]) -> None:
    """Prompts go by class, so a class of two data sets has one real name."""
    seen: dict[str, tuple[str, str]] = {}
    for role, data in sets.items():
        for name in data.classes:
            real = data.real_names.get(name)
            if real is None:
                problem = f"the data set gives no real name for its class '{name}'"
                raise UserError(problem, where=f"data.{role}", fix="its plugin must name every class in real_names")
            other, known = seen.setdefault(name, (role, real))
            if known != real:
                problem = f"class '{name}' is '{known}' in data.{other} and '{real}' here"
                raise UserError(problem, where=f"data.{role}.real_names", fix="give it one real name in both")
