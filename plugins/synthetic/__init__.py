"""Procedurally drawn surfaces with and without defects, with exact masks.

A picture is decided by (surface, seed, defect, size) alone. The four splits name surfaces: validation and test share no
surface with pretraining and training, and three of the test surfaces use textures found nowhere else.
"""

from .defects import DEFECTS
from .drawing import Drawing, defects_of, draw
from .surfaces import PRETRAIN_SURFACES, SURFACES, TEST_SURFACES, TRAIN_SURFACES, VALIDATION_SURFACES, Surface

__all__ = ["DEFECTS", "PRETRAIN_SURFACES", "SURFACES", "TEST_SURFACES", "TRAIN_SURFACES", "VALIDATION_SURFACES"]
__all__ += ["Drawing", "Surface", "defects_of", "draw"]
