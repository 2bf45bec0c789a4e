"""Matrices to multiply, and oracles: one in Python integers, one in int64 for larger sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from numq.kernels import Isa, available, jit_enabled
from numq.kernels.machine.cpu import EMULATED, Emulated, KernelPath

TYPES = (np.int8, np.uint8)
#: every path on every machine: what the processor lacks is emulated
COMPILED: tuple[KernelPath, ...] = tuple(
    Emulated(isa) if isa in EMULATED and isa not in available() else isa
    for isa in Isa
    if isa is not Isa.NUMPY and jit_enabled()
)
KERNELS = (*COMPILED, Isa.NUMPY)
FAST = available()[0]  #: what is chosen where nothing is said


def name_of(path: KernelPath) -> str:
    """A test's name for a path."""
    return f"{path.isa.value}, emulated" if isinstance(path, Emulated) else path.value


each_kernel = pytest.mark.parametrize("isa", KERNELS, ids=name_of)
each_compiled = pytest.mark.parametrize("isa", COMPILED, ids=name_of)

#: ways to lay out the same matrix in memory
LAYOUTS = {
    "rows": lambda m: np.ascontiguousarray(m),
    "columns": lambda m: np.asfortranarray(m),
    "every other": lambda m: np.repeat(np.repeat(m, 2, axis=0), 3, axis=1)[::2, ::3],
    "rows apart": lambda m: np.hstack([m, m])[:, : m.shape[1]],
    "columns apart": lambda m: np.asfortranarray(np.vstack([m, m]))[: m.shape[0]],
    "reversed": lambda m: np.ascontiguousarray(m[::-1, ::-1])[::-1, ::-1],
    "rows reversed": lambda m: np.ascontiguousarray(m[::-1])[::-1],
    "misaligned": lambda m: np.frombuffer(
        b"\0" * 3 + m.tobytes(), m.dtype, m.size, offset=3
    ).reshape(m.shape),
}


def integers(rng: np.random.Generator, dtype: Any, *shape: int) -> NDArray[Any]:
    """Every code of ``dtype`` is as likely."""
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


def wrap(value: int) -> int:
    """An integer as int32 keeps it: modulo 2**32."""
    return (value + 2**31) % 2**32 - 2**31


def oracle(a: NDArray[Any], b: NDArray[Any]) -> list[list[int]]:
    """``a @ b`` in Python integers."""
    rows, columns = a.tolist(), b.T.tolist()
    return [
        [wrap(sum(x * y for x, y in zip(row, column, strict=True))) for column in columns]
        for row in rows
    ]


def exact(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int32]:
    """``a @ b`` in int64, then modulo 2**32."""
    return (a.astype(np.int64) @ b.astype(np.int64)).astype(np.int32)


@st.composite
def products(draw: st.DrawFn, most: int = 80) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two matrices that can be multiplied, sizes from 0, in any layout."""
    m, k, n = (draw(st.integers(0, most)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    a, b = (integers(rng, draw(st.sampled_from(TYPES)), *shape) for shape in ((m, k), (k, n)))
    left, right = (LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](x) for x in (a, b))
    return left, right
