"""Which keys `--set` may change once a model is trained: those that its scores depend on, and no others."""

from collections.abc import Collection, Sequence

from ..contracts.errors import UserError

SCORING = ("backbone", "model", "stages", "compute", "evaluation", "switches", "device", "precision", "workers")
"""Tables and keys that a trained model is built and used with."""

ONLY_TRAINING = frozenset(
    {
        "evaluation.heatmaps",
        *("compute.recompute", "compute.memory_gb"),
        *(f"switches.{name}" for name in ("dropout", "text_loss_levels", "checkpoint_mismatch")),
        *(f"switches.{name}" for name in ("checkpoint_format", "quoted_loop")),
    }
)
"""Keys of these tables that act in a run alone."""


def check_overrides(overrides: Sequence[str], used: Sequence[str], unused: Collection[str]) -> None:
    """Raise `UserError` for an override that would have no effect."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in unused or not any(key == table or key.startswith(f"{table}.") for table in used):
            problem = f"{key} has no effect on a model that is trained already"
            raise UserError(problem, where=f"--set {override}", fix=f"keys of these have one: {', '.join(used)}")
