"""A test image as the report of attention sees it."""

from __future__ import annotations

import numpy as np

from aaclip_kit.report.attention_maps import Shown
from aaclip_kit.run.assemble import Run

from ..build import images_for

CLASS = "green_wood"


def shown(run: Run, corner: int = 8) -> Shown:
    """An image whose upper left patch (8 x 8 pixels) is anomalous."""
    size = run.pixels.size
    mask = np.zeros((size, size), bool)
    mask[:corner, :corner] = True
    real_name = run.data.real_names[CLASS]
    return Shown(example=7, image=images_for(run, 1), class_name=CLASS, real_name=real_name, mask=mask)
