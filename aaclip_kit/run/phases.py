"""From a phase's plan to the phase: its batches, its losses, its kept features."""

import PIL

from ..cache.feature_store import FeatureStore, open_store
from ..cache.keys import backbone_identity
from ..contracts.options import TowerName
from ..contracts.schedule import PhasePlan
from ..data.loader import TrainBatches
from ..training.feature_cache import CachedFeatures
from ..training.phase import Phase
from .assemble import Run


def build_phase(
    run: Run,
    plan: PhasePlan,
    loop: int,
    number: int,
    attending: frozenset[TowerName],
    store: FeatureStore | None = None,
) -> Phase:
    """Phase `number` (from 0) of a loop on the training images; towers `attending` use their stages with a context.

    A text phase keeps frozen features in the `store`, unless nothing could ever be taken from it again.
    """
    file = run.experiment.file
    batches = TrainBatches(
        run.data.sets["train"].samples, run.pixels, file.augmentation,
        augment="geometry" if plan.train == "text" else "geometry_and_color",
        batch_size=plan.batch_size, key=(file.seed, loop, number), workers=file.workers, ranks=run.ranks,
    )  # fmt: skip
    cached = None
    if store is not None and plan.train == "text" and (batches.views_come_again or file.cache.features == "disk"):
        contents = run.data.fingerprints["train"].images
        cached = CachedFeatures(run.model.image, store, contents, file.augmentation, batches.image)
    return Phase(
        model=run.model, losses=run.losses[plan.train], plan=plan, batches=batches,
        compute_device=run.compute_device, loop=loop, attending=attending, cached=cached,
    )  # fmt: skip


def open_feature_store(run: Run) -> FeatureStore | None:
    """Where frozen features are kept; nowhere with V-V attention over the batch, where they are no image's own."""
    file, model = run.experiment.file, run.model
    if file.switches.surgery_attention == "batch":
        return None
    facts = {
        "levels": model.levels,
        "place": f"{run.compute_device.device.type} {run.compute_device.precision}",
        "plugin": str(run.experiment.backbone.component.plugin),
        "pillow": PIL.__version__,
    }
    return open_store(file.cache, lambda: backbone_identity(model.backbone, facts))
