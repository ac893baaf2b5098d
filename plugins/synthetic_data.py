"""The data set `synthetic`: drawn surfaces with exact masks."""

from typing import Any

from aaclip_kit import DataSet, Register, hookimpl

from .generated import MOST_IMAGES, GeneratedOptions, chosen_classes, read_generated


class SyntheticOptions(GeneratedOptions):
    """Drawn surfaces and defects with exact masks; the splits share no class."""


def read_synthetic(options: SyntheticOptions) -> DataSet:
    """Read the drawings, made where they are not in the cache. Raises `UserError`: an unknown class, a bad cache."""
    from . import synthetic

    surfaces = {
        "train": synthetic.TRAIN_SURFACES,
        "validation": synthetic.VALIDATION_SURFACES,
        "test": synthetic.TEST_SURFACES,
    }
    classes = chosen_classes(options, sorted(surfaces[options.split]), "synthetic")

    def paint(surface: str, index: int, defect: str | None) -> tuple[Any, Any]:
        drawing = synthetic.draw(surface, options.seed * MOST_IMAGES + index, defect, options.image_size)
        return drawing.image, drawing.mask

    return read_generated(options, "synthetic", {name: synthetic.defects_of(name) for name in classes}, paint)


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `synthetic`."""
    register("synthetic", read_synthetic, SyntheticOptions)
