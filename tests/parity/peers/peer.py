"""One method's goldens: the weights and inputs that its recipe gives, the model built of them, and the comparison."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aaclip_kit import Backbone
from aaclip_kit.experiment import Experiment, load
from aaclip_kit.model.anomaly_model import AnomalyModel
from aaclip_kit.model.build import build_model
from aaclip_kit.plugin_host.discovery import discover

from ...conftest import SHARED
from ..goldens import Goldens
from ..keys import DIGEST

METHODS = Path(__file__).parents[3] / "experiments" / "methods"
RECIPE = SHARED / "parity" / "recipe.py"


def find_peer(method: str, config: pytest.Config) -> Peer | None:
    """The goldens of a method: in the folder that --goldens names, which is of it or holds several, or in ../shared."""
    named = config.getoption("--goldens", default=None)
    root = SHARED / "peers" if named is None else config.invocation_params.dir / named
    for folder in (root, root / method):
        about = folder / "goldens.json"
        if about.is_file() and json.loads(about.read_text(encoding="utf-8")).get("method") == method:
            recipe = next((path for path in (folder / "recipe.py", RECIPE) if path.is_file()), None)
            if recipe is None:
                raise pytest.UsageError(f"--goldens {folder}: there is no recipe.py")
            return Peer(Goldens.read(folder, recipe))
    return None


@dataclass
class Peer:
    """What a published method computed, and what of it has been compared."""

    goldens: Goldens = field(repr=False)
    compared: dict[str, float] = field(default_factory=dict, repr=False)
    """Worst difference of each key, relative to what it is held to."""
    allowed: dict[str, float] = field(default_factory=dict, repr=False)
    _backbones: dict[str, Backbone] = field(default_factory=dict, repr=False)

    @property
    def info(self) -> dict[str, Any]:
        """What goldens.json says."""
        return self.goldens.info

    @property
    def keys(self) -> list[str]:
        """Every key but those of digests that stand beside an array."""
        return [
            key
            for key in self.goldens.arrays
            if key.removesuffix(DIGEST) not in self.goldens.arrays or not key.endswith(DIGEST)
        ]

    def golden(self, key: str) -> np.ndarray:
        """One stored array."""
        return self.goldens.arrays[key]

    def weight(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The recipe's weight of a name."""
        return torch.from_numpy(self.goldens.recipe.weight(self.info["tag"], name, shape))

    def images(self, prefix: str = "", batch: int | None = None, size: int | None = None) -> Tensor:
        """The recipe's images, `[B, 3, S, S]`, by default the goldens' own."""
        info = self.info
        made = self.goldens.recipe.images(info["tag"] + prefix, batch or info["batch"], size or info["image_size"])
        return torch.from_numpy(made)

    def masks(self) -> Tensor:
        """The recipe's masks, `[B, 1, S, S]`."""
        return torch.from_numpy(
            self.goldens.recipe.masks(self.info["tag"], self.info["batch"], self.info["image_size"])
        )

    def fill(self, module: nn.Module | Mapping[str, Tensor], name_of: Callable[[str], str | None]) -> None:
        """Give parameters the recipe's weights, under the names that `name_of` makes of theirs; None: leave alone."""
        named = dict(module.named_parameters()) if isinstance(module, nn.Module) else module
        with torch.no_grad():
            for own, parameter in named.items():
                if (name := name_of(own)) is not None:
                    parameter.copy_(self.weight(name, tuple(parameter.shape)))

    def experiment(self, file: str, *overrides: str) -> Experiment:
        """An experiment file of a method, at the goldens' size, without dropout and on the CPU."""
        fixed = [
            f"backbone.image_size={self.info['image_size']}",
            "backbone.pretrained=none",
            "device=cpu",
            "precision=fp32",
        ]
        return load(METHODS / file, discover(), [*fixed, "switches.dropout=false", *overrides])

    def model(self, file: str, prefix: str, *overrides: str, table: str = "") -> AnomalyModel:
        """The file's model with the recipe's weights.

        In the recipe's names `prefix` stands before published keys, and the `table` of a checkpoint's file does not.
        """
        experiment = self.experiment(file, *overrides)
        key = repr(experiment.backbone.options)
        if key not in self._backbones:
            self._backbones[key] = experiment.backbone.component.build(experiment.backbone.options)
            self.fill(
                self._backbones[key], lambda own: None if "logit_" in own else f"clip/{own.removeprefix('clip.')}"
            )
        component = replace(experiment.backbone.component, factory=lambda options: self._backbones[key])
        experiment = replace(experiment, backbone=replace(experiment.backbone, component=component))
        model = build_model(experiment, {name: name for name in self.info["classes"]})
        names = model.published_names()
        trained = model.all_trained_parameters()
        assert trained.keys() == names.keys(), "something is trained that has no published name"
        self.fill(trained, lambda own: prefix + names[own].removeprefix(table))
        return model.requires_grad_(False)

    def forget(self) -> None:
        """Let the backbones go: each of full size takes 1.7 GB."""
        self._backbones.clear()

    def hold(self, computed: Mapping[str, Any], tolerance: float = 1e-4) -> None:
        """Hold computed arrays to the goldens of these keys, and to their digests; all faults are shown at once."""
        faults = []
        for key, value in computed.items():
            found = _array(value)
            differences = self._differences(key, found)
            self.compared.update(differences)
            self.allowed.update(dict.fromkeys(differences, tolerance))
            faults += [
                f"{one}: {by:.2e}, allowed {tolerance:.0e}" for one, by in differences.items() if not by <= tolerance
            ]
        assert not faults, "\n".join(faults)

    def hold_digest(self, computed: Mapping[str, tuple[str, Any]], tolerance: float = 1e-3) -> None:
        """Hold arrays to goldens that are digests alone, made under another name: key to (name, array)."""
        faults = []
        for key, (name, value) in computed.items():
            golden, found = self.golden(key), _array(value)
            by = self._digest_difference(name, found, golden)
            self.compared[key], self.allowed[key] = by, tolerance
            faults += [] if by <= tolerance else [f"{key}: {by:.2e}, allowed {tolerance:.0e}"]
        assert not faults, "\n".join(faults)

    @property
    def passed_over(self) -> list[str]:
        """Keys that nothing was held to."""
        return [key for key in self.goldens.arrays if key not in self.compared]

    def _differences(self, key: str, found: np.ndarray) -> dict[str, float]:
        golden = self.golden(key)
        stored = found if found.shape == golden.shape else found[..., ::8]
        if stored.shape != golden.shape:
            raise AssertionError(f"{key}: has shape {found.shape} where the golden has {golden.shape}")
        scale = np.sqrt(np.mean(np.square(golden, dtype=np.float64))) or 1.0
        differences = {key: float(np.max(np.abs(stored.astype(np.float64) - golden), initial=0.0) / scale)}
        if key + DIGEST in self.goldens.arrays:
            differences[key + DIGEST] = self._digest_difference(key, found, self.golden(key + DIGEST))
        return differences

    def _digest_difference(self, name: str, found: np.ndarray, golden: np.ndarray) -> float:
        scales = (golden[0] or 1.0) * np.array([1, np.sqrt(found.size), 1])
        return float(np.max(np.abs(self.goldens.recipe.digest(name, found) - golden) / scales))


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
