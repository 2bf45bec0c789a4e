"""The integer matrix product, (M, K) × (K, N) → (M, N) int32.

    y[i, j] = Σ_k a[i, k] · b[k, j]

Two forms of one definition, equal to the bit while no sum leaves int32; callers see to that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.jit import jit_enabled, njit

Codes = NDArray[np.integer[Any]]
Accumulators = NDArray[np.int32]


def matmul(a: Codes, b: Codes) -> Accumulators:
    """The product in the fastest form there is here: Numba, or NumPy where the JIT is off."""
    if not jit_enabled():
        return matmul_numpy(a, b)
    return matmul_numba(np.ascontiguousarray(a), np.ascontiguousarray(b))


def matmul_numpy(a: Codes, b: Codes) -> Accumulators:
    """Widen, then multiply: int8 · int8 in int8 would wrap."""
    return np.matmul(a.astype(np.int32), b.astype(np.int32), dtype=np.int32)


@njit
def matmul_numba(a: Codes, b: Codes) -> Accumulators:
    """Three loops in the order i, k, j: the inner one runs along rows of `b` and of the result."""
    rows, depth = a.shape
    columns = b.shape[1]
    y = np.zeros((rows, columns), np.int32)
    for i in range(rows):
        for k in range(depth):
            left = np.int32(a[i, k])
            for j in range(columns):
                y[i, j] += left * np.int32(b[k, j])
    return y
