"""Experiments on zero-shot anomaly detection with CLIP. All that a plugin or a program may import is named here.

Names that need torch are imported when first used, so that listing plugins stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .contracts.data import DataSet, Domain, Sample, is_image_file
from .contracts.deprecation import DEPRECATED, deprecated_value
from .contracts.errors import UserError, UserErrors, nearest_hint
from .contracts.options import BackboneOptions, Indices, Options, StageOptions, TowerName
from .contracts.schedule import LoopPlan, LoopRecord, LoopScheduler, OptimizerPlan, PhasePlan, RatePlan
from .data.find_files import ListRow, Search, passed_over, read_list, search_folder
from .plugin_host.api_version import API_VERSION
from .plugin_host.hookspecs import Register, hookimpl
from .version import __version__

if TYPE_CHECKING:
    from .contracts.backbone import Backbone, Surgery, Tower
    from .contracts.loss import Loss
    from .contracts.stage import AttentionStage, Context, StageSetting
    from .data.decode import open_picture
    from .files.weights_file import read_weights
    from .inference.load_model import Prediction, TrainedModel, load_model
    from .kernels.norm_matched import norm_matched_residual

_WITH_TORCH = {
    "contracts.backbone": ("Backbone", "Surgery", "Tower"),
    "contracts.loss": ("Loss",),
    "contracts.stage": ("AttentionStage", "Context", "StageSetting"),
    "data.decode": ("open_picture",),
    "files.weights_file": ("read_weights",),
    "inference.load_model": ("Prediction", "TrainedModel", "load_model"),
    "kernels.norm_matched": ("norm_matched_residual",),
}

__all__ = [
    "API_VERSION",
    "AttentionStage",
    "Backbone",
    "BackboneOptions",
    "Context",
    "DataSet",
    "Domain",
    "Indices",
    "ListRow",
    "LoopPlan",
    "LoopRecord",
    "LoopScheduler",
    "Loss",
    "OptimizerPlan",
    "Options",
    "PhasePlan",
    "Prediction",
    "RatePlan",
    "Register",
    "Sample",
    "Search",
    "StageOptions",
    "StageSetting",
    "Surgery",
    "Tower",
    "TowerName",
    "TrainedModel",
    "UserError",
    "UserErrors",
    "__version__",
    "hookimpl",
    "is_image_file",
    "load_model",
    "nearest_hint",
    "norm_matched_residual",
    "open_picture",
    "passed_over",
    "read_list",
    "read_weights",
    "search_folder",
]


if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> Any:
        for module, names in _WITH_TORCH.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        if name in DEPRECATED:
            return deprecated_value(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
