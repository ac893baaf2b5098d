"""The hooks. Each is called once, when plugins are loaded; none is called while a model runs."""

from typing import Any, Protocol, runtime_checkable

import pluggy

from ..contracts.options import Options

PROJECT = "aaclip_kit"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's function as the implementation of the hook of that name."""


@runtime_checkable
class Register(Protocol):
    """What a hook receives. Call it once for each component."""

    def __call__(self, name: str, factory: Any, options: type[Options]) -> None:
        """Register `factory`, a callable or the text "module:attribute" (imported when first used), under `name`."""


@hookspec
def register_backbones(register: Register) -> None:
    """Offer backbones; a factory is called as `factory(options)` and returns a `Backbone`."""


@hookspec
def register_prompts(register: Register) -> None:
    """Offer prompts; a factory is called as `factory(options, setting)` and returns a `Prompts`."""


@hookspec
def register_attention_stages(register: Register) -> None:
    """Offer stages; a factory is called as `factory(options, setting)` and returns an `AttentionStage`."""


@hookspec
def register_heads(register: Register) -> None:
    """Offer heads; a factory is called as `factory(options, setting)` and returns a `Head`."""


@hookspec
def register_references(register: Register) -> None:
    """Offer references; a factory is called as `factory(options, setting)` and returns a `Reference`."""


@hookspec
def register_losses(register: Register) -> None:
    """Offer losses; a factory is called as `factory(options)` and returns a `Loss`."""


@hookspec
def register_schedulers(register: Register) -> None:
    """Offer loop schedulers; a factory is called as `factory(options)` and returns a `LoopScheduler`."""


@hookspec
def register_data_sets(register: Register) -> None:
    """Offer data sets; a factory is called as `factory(options)` and returns a `DataSet`."""


@hookspec
def register_trackers(register: Register) -> None:
    """Offer trackers; a factory is called as `factory(options)` and returns a `Tracker`."""
