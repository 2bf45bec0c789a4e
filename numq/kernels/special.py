"""The error function of every element; NumPy has none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.jit import jit_enabled, njit

Array = NDArray[Any]


@njit
def _erf_into(x: Array, out: Array) -> None:
    for i in range(x.size):
        out[i] = math.erf(x[i])


def erf(x: Array) -> NDArray[np.float64]:
    """`2/√π · ∫₀ˣ e^(−t²) dt` in float64, the shape of `x`; NaN stays NaN."""
    flat = np.ascontiguousarray(x, np.float64).reshape(-1)
    if jit_enabled():
        out = np.empty_like(flat)
        _erf_into(flat, out)
    else:
        out = np.array([math.erf(v) for v in flat], np.float64)
    return out.reshape(x.shape)
