"""The error function of every element; NumPy has none."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from numq.kernels.machine.jit import compiled, jit_enabled, njit
from numq.kernels.machine.parallel import given_array, made_array
from numq.kernels.operands import checked_array

FLOATS = tuple(map(np.dtype, (np.float16, np.float32, np.float64)))


def erf(x: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """`2/√π · ∫₀ˣ e^(−t²) dt` in float64, the shape of `x`; NaN stays NaN.

    Raises:
        TypeError: `x` is not float16, float32 or float64.
    """
    checked_array("x", x, FLOATS)
    flat = np.ascontiguousarray(x, np.float64).reshape(-1)
    out = np.empty_like(flat)
    (_kernel() if jit_enabled() else _erf_into)(flat, out)
    return out.reshape(x.shape)


def _erf_into(x: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for i in range(x.size):
        out[i] = math.erf(x[i])


@cache
def _kernel() -> Any:
    return compiled(njit(_erf_into), given_array(types.float64), made_array(types.float64))
