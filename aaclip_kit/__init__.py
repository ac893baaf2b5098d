"""Experiments on zero-shot anomaly detection with CLIP. All that a plugin or a program may import is named here.

Names that need torch are imported when first used, so that listing plugins stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .contracts.data import DataOrigin, DataSet, Domain, Sample, is_image_file
from .contracts.deprecation import DEPRECATED, deprecated_value
from .contracts.errors import UserError, UserErrors, nearest_hint
from .contracts.options import BackboneOptions, Indices, Options, Phrases, Sites, StageOptions, TowerName
from .contracts.schedule import LoopPlan, LoopRecord, LoopScheduler, OptimizerPlan, PhasePlan, RatePlan
from .contracts.tracker import Point, TrackedRun, Tracker
from .data.find_files import ListRow, Search, passed_over, read_list, search_folder
from .plugin_host.api_version import API_VERSION
from .plugin_host.hookspecs import Register, hookimpl
from .version import __version__

if TYPE_CHECKING:
    from .contracts.backbone import Backbone, Surgery, Tower, text_tower
    from .contracts.head import Head, HeadSetting, ImageFeatures, ImageTokens, Reads, Scores
    from .contracts.loss import Loss
    from .contracts.prompts import Prompts, PromptSetting
    from .contracts.reference import Answer, Bank, NormalScores, Reference, ReferenceSetting
    from .contracts.stage import AttentionStage, Context, StageSetting
    from .data.decode import open_picture
    from .evaluation.patch_distance import patch_distances
    from .files.weights_file import read_weights
    from .inference.load_model import TrainedModel, load_model
    from .inference.prediction import Prediction
    from .kernels.maps import gaussian_blur, gaussian_filter, softmax_maps, unit, upsampled
    from .kernels.nearest import nearest, spread_out
    from .kernels.norm_matched import norm_matched_residual
    from .model.fixed_words import FixedWords

_WITH_TORCH = {
    "contracts.backbone": ("Backbone", "Surgery", "Tower", "text_tower"),
    "contracts.head": ("Head", "HeadSetting", "ImageFeatures", "ImageTokens", "Reads", "Scores"),
    "contracts.loss": ("Loss",),
    "contracts.prompts": ("PromptSetting", "Prompts"),
    "contracts.reference": ("Answer", "Bank", "NormalScores", "Reference", "ReferenceSetting"),
    "contracts.stage": ("AttentionStage", "Context", "StageSetting"),
    "data.decode": ("open_picture",),
    "evaluation.patch_distance": ("patch_distances",),
    "files.weights_file": ("read_weights",),
    "inference.load_model": ("TrainedModel", "load_model"),
    "inference.prediction": ("Prediction",),
    "kernels.maps": ("gaussian_blur", "gaussian_filter", "softmax_maps", "unit", "upsampled"),
    "kernels.nearest": ("nearest", "spread_out"),
    "kernels.norm_matched": ("norm_matched_residual",),
    "model.fixed_words": ("FixedWords",),
}

__all__ = [
    "API_VERSION",
    "Answer",
    "AttentionStage",
    "Backbone",
    "BackboneOptions",
    "Bank",
    "Context",
    "DataOrigin",
    "DataSet",
    "Domain",
    "FixedWords",
    "Head",
    "HeadSetting",
    "ImageFeatures",
    "ImageTokens",
    "Indices",
    "ListRow",
    "LoopPlan",
    "LoopRecord",
    "LoopScheduler",
    "Loss",
    "NormalScores",
    "OptimizerPlan",
    "Options",
    "PhasePlan",
    "Phrases",
    "Point",
    "Prediction",
    "PromptSetting",
    "Prompts",
    "RatePlan",
    "Reads",
    "Reference",
    "ReferenceSetting",
    "Register",
    "Sample",
    "Scores",
    "Search",
    "Sites",
    "StageOptions",
    "StageSetting",
    "Surgery",
    "Tower",
    "TowerName",
    "TrackedRun",
    "Tracker",
    "TrainedModel",
    "UserError",
    "UserErrors",
    "__version__",
    "gaussian_blur",
    "gaussian_filter",
    "hookimpl",
    "is_image_file",
    "load_model",
    "nearest",
    "nearest_hint",
    "norm_matched_residual",
    "open_picture",
    "passed_over",
    "patch_distances",
    "read_list",
    "read_weights",
    "search_folder",
    "softmax_maps",
    "spread_out",
    "text_tower",
    "unit",
    "upsampled",
]


if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> Any:
        for module, names in _WITH_TORCH.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        if name in DEPRECATED:
            return deprecated_value(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
