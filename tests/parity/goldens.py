"""A folder of goldens (goldens.json, goldens.npz, recipe.py), and the comparison of what we compute with it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .keys import DIGEST, GRADIENT, TOLERANCES, Group, groups_of, kind_of, scale_key

CHANNEL_STEP = 8
"""Large arrays are stored as every 8th channel, with a digest of the whole."""


@dataclass
class Goldens:
    """What the published code computed, what it was computed from, and what has been compared so far."""

    arrays: dict[str, np.ndarray] = field(repr=False)
    info: dict[str, Any]
    recipe: Any
    worst: dict[str, float] = field(default_factory=dict, repr=False)
    """Worst difference of each key that has been compared, digests included."""

    @classmethod
    def read(cls, folder: Path, recipe: Path) -> Goldens:
        """Read a folder, with a recipe that may lie elsewhere."""
        with np.load(folder / "goldens.npz") as file:
            arrays = dict(file)
        spec = importlib.util.spec_from_file_location("parity_recipe", recipe)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return cls(arrays, json.loads((folder / "goldens.json").read_text(encoding="utf-8")), module)

    @property
    def groups(self) -> list[Group]:
        """Every group of the file."""
        return groups_of(self.arrays)

    def names(self, group: Group) -> list[str]:
        """What each golden of a group is called within it, digests of other goldens left out."""
        keys = [key for key in self.arrays if key == group.prefix or key.startswith(group.prefix + "/")]
        own = [key for key in keys if key.removesuffix(DIGEST) == key or key.removesuffix(DIGEST) not in self.arrays]
        return [key.removeprefix(group.prefix).removeprefix("/") for key in own]

    def compare(self, group: Group, computed: Mapping[str, Any]) -> None:
        """Hold every golden of the group to what was computed under its name; all faults are shown at once."""
        faults = []
        for name in self.names(group):
            key = f"{group.prefix}/{name}".rstrip("/")
            if name in computed:
                faults += self._faults(key, np.asarray(computed[name]))
            else:
                faults.append(f"{key}: nothing was computed for it")
        assert not faults, "\n".join(faults)

    def _faults(self, key: str, found: np.ndarray) -> list[str]:
        try:
            differences = self._differences(key, found)
        except ValueError as error:
            return [f"{key}: {error}"]
        self.worst.update(differences)
        kind = kind_of(key)
        return [
            f"{part}: differs by {difference:.2e}, allowed are {TOLERANCES[kind]:.0e} ({kind})"
            for part, difference in differences.items()
            if not difference <= TOLERANCES[kind]
        ]

    def _differences(self, key: str, found: np.ndarray) -> dict[str, float]:
        golden, kind = self.arrays[key], kind_of(key)
        if GRADIENT in key:
            parameter = key.partition(GRADIENT)[2]
            return {key: self._digest_difference(parameter, found, golden, self.arrays[scale_key(key)][0])}
        if key + DIGEST in self.arrays:
            whole = self.arrays[key + DIGEST]
            scale = np.sqrt(np.mean(np.square(golden, dtype=np.float64)))
            return {
                key: _largest(_as_stored(found, golden) - golden, scale),
                key + DIGEST: self._digest_difference(key, found, whole, whole[0]),
            }
        _same_shape(found, golden)
        return {key: _largest(found - golden, 1.0 if kind == "metrics" else np.abs(golden))}

    def _digest_difference(self, name: str, found: np.ndarray, golden: np.ndarray, scale: float) -> float:
        """Of norm, sum and projection, each relative to the norm; the sum of n numbers to sqrt(n) times that."""
        scales = scale * np.array([1, np.sqrt(found.size), 1])
        return _largest(self.recipe.digest(name, found) - golden, scales)


def _largest(difference: np.ndarray, scale: Any) -> float:
    return float(np.max(np.abs(difference) / scale))


def _as_stored(found: np.ndarray, golden: np.ndarray) -> np.ndarray:
    stored = found if found.shape == golden.shape else found[..., ::CHANNEL_STEP]
    _same_shape(stored, golden)
    return stored.astype(np.float64)


def _same_shape(found: np.ndarray, golden: np.ndarray) -> None:
    if found.shape != golden.shape:
        raise ValueError(f"has shape {found.shape} where the golden has {golden.shape}")
