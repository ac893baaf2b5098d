"""float32 as unsigned integers that sort alike, so that the bits of a score can be its bin."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Float32, UInt32

_SIGN: Final = np.uint32(1 << 31)
_INFINITIES: Final = 0x007FFFFF, 0xFF800000
"""The keys of minus and plus infinity; what lies beyond them would be a NaN."""


def ordered_keys(values: Float[np.ndarray, " N"]) -> UInt32[np.ndarray, " N"]:
    """A key for each value, rounded to float32: a < b exactly where the key of a is below that of b.

    Both zeros have one key. Subnormal numbers and infinities keep their places. Raises ValueError for NaN.
    """
    # Adding zero makes -0.0 a +0.0, and copies, so that the bits can be turned in place.
    positive_zero = np.asarray(values, np.float32) + np.float32(0)
    if np.isnan(positive_zero).any():
        raise ValueError("scores contain NaN")
    keys = positive_zero.view(np.uint32)
    keys ^= np.where(keys & _SIGN, np.uint32(0xFFFFFFFF), _SIGN)
    return keys


def lowest_values(keys: UInt32[np.ndarray, " N"], shift: int) -> Float32[np.ndarray, " N"]:
    """The smallest float32 whose key, less its `shift` lowest bits, is the given one."""
    whole = np.clip(keys.astype(np.uint64) << np.uint64(shift), *_INFINITIES).astype(np.uint32)
    return (whole ^ np.where(whole & _SIGN, _SIGN, np.uint32(0xFFFFFFFF))).view(np.float32)
