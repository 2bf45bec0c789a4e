"""The exact product of 8-bit matrices: ``(M, K) @ (K, N) -> (M, N)`` int32, modulo 2**32.

int8 and uint8 may be mixed at will. ``matmul`` follows NumPy's rule for batches; B may be packed
beforehand with `pack_weight`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.machine.cpu import KernelPath, choose
from numq.kernels.machine.parallel import grid, tasks_for
from numq.kernels.machine.workspace import room
from numq.kernels.operands import INT32, SIGNS, as_bytes, checked_out, checked_sign
from numq.kernels.product.entries import Kernels, kernels
from numq.kernels.product.fused import run_rows
from numq.kernels.product.loops import direct_room
from numq.kernels.product.prepared import plain
from numq.kernels.product.weights import PackedWeight
from numq.kernels.reference import matmul_numpy


def matmul(
    a: NDArray[Any],
    b: NDArray[Any] | PackedWeight,
    *,
    out: NDArray[np.int32] | None = None,
    isa: KernelPath | None = None,
) -> NDArray[np.int32]:
    """``a @ b`` in int32: exact while ``K * |a| * |b| < 2**31``, modulo 2**32 beyond.

    Args:
        a: (..., M, K) int8 or uint8, any strides.
        b: (..., K, N) int8 or uint8, any strides; or a packed (K, N).
        out: (..., M, N) int32, C-contiguous, to write to, not overlapping ``a`` or ``b``; made if
            None.
        isa: the instruction set; None takes ``NUMQ_ISA`` or the best. A packed weight brings its
            own.

    Raises:
        TypeError: an operand is neither int8 nor uint8, or ``out`` not int32.
        ValueError: the shapes do not match, or this process cannot run ``isa``.

    >>> import numpy as np
    >>> matmul(np.full((1, 3), -128, np.int8), np.full((3, 2), -128, np.int8))
    array([[49152, 49152]], dtype=int32)
    """
    if isinstance(b, PackedWeight):
        return _packed(a, b, out, isa)
    plain = type(a) is type(b) is np.ndarray
    a_sign, b_sign = (SIGNS.get(a.dtype), SIGNS.get(b.dtype)) if plain else (None, None)
    if a_sign is None or b_sign is None:
        a_sign, b_sign = checked_sign("a", a), checked_sign("b", b)
    if a.ndim != 2 or b.ndim != 2:
        return _batched(a, b, out, isa)
    (m, k), (depth, n) = a.shape, b.shape
    if k != depth:
        raise ValueError(_misfit(a, b))
    kit = kernels(isa)
    c = np.empty((m, n), INT32) if out is None else checked_out(out, (m, n), INT32, a, b)
    if kit is None:
        c[...] = matmul_numpy(a, b)
    elif m * n * k:
        _product(kit, as_bytes(a), as_bytes(b), c, a_sign, b_sign)
    else:
        c[...] = 0
    return c


def _packed(
    a: NDArray[Any], b: PackedWeight, out: NDArray[np.int32] | None, isa: KernelPath | None
) -> NDArray[np.int32]:
    checked_sign("a", a)
    if isa is not None:
        choose(isa)
    return run_rows(plain(b, a.dtype), a, out)


def _product(
    kit: Kernels,
    a: NDArray[np.int8],
    b: NDArray[np.int8],
    c: NDArray[np.int32],
    a_sign: int,
    b_sign: int,
) -> None:
    """One product of two matrices that are not empty."""
    m, n = c.shape
    if m < kit.direct:
        _few_rows(kit, a, b, c, a_sign, b_sign)
    elif n < kit.direct:  # (a b).T = b.T a.T
        _few_rows(kit, b.T, a.T, c.T, b_sign, a_sign)
    else:
        tasks = tasks_for(m * n * a.shape[1])
        if tasks == 1:
            kit.product.run(a, b, c, a_sign, b_sign, room(1, kit.product_room), 1, 1, 0)
        else:
            space = room(tasks, kit.product_room)
            kit.product.run_all(tasks, a, b, c, a_sign, b_sign, space, *grid(tasks, m, n))


def _few_rows(
    kit: Kernels,
    a: NDArray[np.int8],
    b: NDArray[np.int8],
    c: NDArray[np.int32],
    a_sign: int,
    b_sign: int,
) -> None:
    k, n = b.shape
    tasks = tasks_for(8 * n * k)  # memory-bound: it costs what eight rows would
    kit.few_rows.run_all(
        tasks, a, b, c, a_sign, b_sign, room(tasks, direct_room(kit.tile, k, n)), tasks
    )


def _batched(
    a: NDArray[Any], b: NDArray[Any], out: NDArray[np.int32] | None, isa: KernelPath | None
) -> NDArray[np.int32]:
    """Vectors and stacks of matrices, by the rule of ``numpy.matmul``."""
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; allowed are one axis and more")
    if a.ndim == 1 or b.ndim == 1:
        return _vectors(a, b, out, isa)
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(_misfit(a, b))
    try:
        stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(_misfit(a, b)) from None
    shape = (*stack, a.shape[-2], b.shape[-1])
    c = np.empty(shape, np.int32) if out is None else checked_out(out, shape, INT32, a, b)
    kit = kernels(isa)
    if kit is None:
        c[...] = matmul_numpy(a, b)
    elif not (a.size and b.size and c.size):
        c[...] = 0
    elif b.ndim == 2 and a.flags.c_contiguous:  # one matrix for all: one tall product
        matmul(a.reshape(-1, a.shape[-1]), b, out=c.reshape(-1, c.shape[-1]), isa=isa)
    else:
        _stacked(kit, a, b, c)
    return c


def _vectors(
    a: NDArray[Any], b: NDArray[Any], out: NDArray[np.int32] | None, isa: KernelPath | None
) -> NDArray[np.int32]:
    """A vector is a row on the left, a column on the right; the axis added is then taken away."""
    c = matmul(a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b, isa=isa)
    c = c[..., 0] if b.ndim == 1 else c
    c = c[..., 0] if a.ndim == b.ndim == 1 else c[..., 0, :] if a.ndim == 1 else c
    if out is None:
        return c
    checked_out(out, c.shape, INT32, a, b)[...] = c
    return out


def _misfit(a: NDArray[Any], b: NDArray[Any]) -> str:
    """What is wrong with two shapes."""
    needed = "(M, K) and (K, N)" if a.ndim == b.ndim == 2 else "(..., M, K) and (..., K, N)"
    return (
        f"a has shape {a.shape}, b {b.shape}; allowed are {needed} of one K, stacks that broadcast"
    )


def _stacked(kit: Kernels, a: NDArray[Any], b: NDArray[Any], c: NDArray[np.int32]) -> None:
    """Products of two stacks: those of many small matrices in one compiled call."""
    a_sign, b_sign = SIGNS[a.dtype], SIGNS[b.dtype]
    left, right = (
        as_bytes(np.broadcast_to(x, (*c.shape[:-2], *x.shape[-2:])).reshape(-1, *x.shape[-2:]))
        for x in (a, b)
    )
    results = c.reshape(-1, *c.shape[-2:])
    work = results[0].size * a.shape[-1]
    if tasks_for(work) > 1:
        for one_left, one_right, result in zip(left, right, results, strict=True):
            _product(kit, one_left, one_right, result, a_sign, b_sign)
    else:
        tasks = min(len(results), tasks_for(work * len(results)))
        kit.batch.run_all(
            tasks, left, right, results, a_sign, b_sign, room(tasks, kit.product_room), tasks
        )
