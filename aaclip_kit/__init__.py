"""Experiments on zero-shot anomaly detection with CLIP. Everything that a plugin may import is named in this file.

Names that need torch are imported when first used, so that listing plugins stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .contracts.data import DataSet, Domain, Sample
from .contracts.errors import UserError, UserErrors
from .contracts.options import Indices, Options, StageOptions, TowerName
from .contracts.schedule import LoopPlan, LoopRecord, LoopScheduler, OptimizerPlan, PhasePlan, RatePlan
from .hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from .contracts.backbone import Backbone, Surgery, Tower
    from .contracts.loss import Loss
    from .contracts.stage import AttentionStage, Context, StageSetting, norm_matched_residual

__version__ = "0.1.0"
"""Version of the toolkit."""

_WITH_TORCH = {
    "Backbone": "backbone",
    "Surgery": "backbone",
    "Tower": "backbone",
    "Loss": "loss",
    "AttentionStage": "stage",
    "Context": "stage",
    "StageSetting": "stage",
    "norm_matched_residual": "stage",
}

__all__ = [
    "AttentionStage",
    "Backbone",
    "Context",
    "DataSet",
    "Domain",
    "Indices",
    "LoopPlan",
    "LoopRecord",
    "LoopScheduler",
    "Loss",
    "OptimizerPlan",
    "Options",
    "PhasePlan",
    "RatePlan",
    "Register",
    "Sample",
    "StageOptions",
    "StageSetting",
    "Surgery",
    "Tower",
    "TowerName",
    "UserError",
    "UserErrors",
    "__version__",
    "hookimpl",
    "norm_matched_residual",
]


def __getattr__(name: str) -> Any:
    if name in _WITH_TORCH:
        return getattr(import_module(f".contracts.{_WITH_TORCH[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
