"""A product prepared once: what can be checked, packed and folded before the matrix A arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.arrays import frozen
from numq.kernels.machine.cpu import KernelPath, choose
from numq.kernels.machine.parallel import SMALL_MACS, Task, grid, tasks_for
from numq.kernels.machine.tile import TILES
from numq.kernels.machine.workspace import room
from numq.kernels.operands import (
    EIGHT_BIT_LIMITS,
    INT8,
    INT32_ENDS,
    SIGNS,
    checked_array,
    checked_integer,
    checked_out,
    integers_of,
    limits_of,
)
from numq.kernels.product.entries import kernels
from numq.kernels.product.rules import Mode
from numq.kernels.product.walk import rows_of_block, walk_room
from numq.kernels.product.ways import NO_FLOATS, WayOut, integers
from numq.kernels.product.weights import PackedWeight, pack_weight
from numq.kernels.product.zeros import NO_INTS, Folded, folded, stored_as_a, stored_as_b
from numq.kernels.reference import correct_numpy, matmul_numpy

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False, slots=True)
class PreparedProduct:
    """``way(sum (a - a_zero_point) * (b - b_zero_point) + bias)`` of any ``a``.

    Made by ``prepare_product``. A call picks the tasks and their room and runs them.
    """

    weight: PackedWeight
    way: WayOut
    a_dtype: np.dtype[Any]
    a_zero_point: int
    b_zero_point: NDArray[np.int32]  #: (N,), read-only, or empty for zeros
    bias: NDArray[np.int32]  #: (N,), read-only, or empty for zeros
    task: Task | None  #: None: NumPy
    operands: tuple[Any, ...]  #: of compiled code: sign, panels, terms, factors, sums, rows
    room_bytes: int

    def __call__(
        self,
        a: NDArray[Any],
        *,
        row_scale: NDArray[np.float32] = NO_FLOATS,
        row_zero_point: NDArray[np.int32] = NO_INTS,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """(M, K) of ``a_dtype`` to (M, N) of the way's dtype.

        Args:
            a: any strides; contiguous is fastest.
            row_scale: (M,) float32 that a dequantizing way multiplies its scales by.
            row_zero_point: (M,) int32, zero points of the rows of ``a``, beside ``a_zero_point``.
            out: (M, N), C-contiguous, not overlapping ``a``; made if None.

        Raises:
            TypeError: an array of another dtype.
            ValueError: an array of another shape.
        """
        k, n = self.weight.shape
        if type(a) is not np.ndarray or a.dtype is not self.a_dtype or a.ndim != 2:
            self._check(a)
        m = a.shape[0]
        if a.shape[1] != k:
            self._check(a)
        if row_scale is not NO_FLOATS or row_zero_point is not NO_INTS:
            row_scale, row_zero_point = self._checked_rows(m, row_scale, row_zero_point)
        dtype = self.way.dtype
        result = np.empty((m, n), dtype) if out is None else checked_out(out, (m, n), dtype, a)
        if not result.size:
            return result
        task = self.task
        if task is None:
            result[...] = self._numpy(a, row_scale, row_zero_point)
            return result
        if 1 not in a.strides:
            a = np.ascontiguousarray(a)
        last = (self.way.record, row_scale, row_zero_point, result.view(INT8))
        macs = m * n * k
        if macs < SMALL_MACS:
            task.run(a.view(INT8), *self.operands, room(1, self.room_bytes), 1, 1, *last, 0)
        else:
            tasks = tasks_for(macs)
            space = room(tasks, self.room_bytes)
            task.run_all(tasks, a.view(INT8), *self.operands, space, *grid(tasks, m, n), *last)
        return result

    def _check(self, a: NDArray[Any]) -> None:
        """Refuse what is no (M, K) matrix of the dtype."""
        checked_array("a", a, (self.a_dtype,))
        k, n = self.weight.shape
        if a.ndim != 2 or a.shape[1] != k:
            raise ValueError(f"a has shape {a.shape}; allowed is (M, {k}) for b of shape {(k, n)}")

    def _checked_rows(
        self, m: int, row_scale: NDArray[Any], row_zero_point: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """What is given for each row, C-contiguous."""
        if row_scale is not NO_FLOATS and self.way.mode is not Mode.DEQUANTIZED:
            raise ValueError(
                f"row_scale is given; allowed beside a way to {self.way.dtype} is none"
            )
        rows = (("row_scale", row_scale, NO_FLOATS), ("row_zero_point", row_zero_point, NO_INTS))
        for name, array, nothing in rows:
            if array is nothing:
                continue
            if type(array) is not np.ndarray or array.dtype is not nothing.dtype:
                checked_array(name, array, (nothing.dtype,))
            if array.shape != (m,):
                raise ValueError(f"{name} has shape {array.shape}; allowed is ({m},)")
        return np.ascontiguousarray(row_scale), np.ascontiguousarray(row_zero_point)

    def _numpy(
        self, a: NDArray[Any], row_scale: NDArray[np.float32], row_zero: NDArray[np.int32]
    ) -> NDArray[Any]:
        """The definition, and the form without JIT."""
        b = self.weight.panels
        zeros = (self.a_zero_point, self.b_zero_point, self.bias)
        sums = correct_numpy(matmul_numpy(a, b), a, b, *zeros)
        if row_zero.size:
            less = b.astype(np.int32) - (self.b_zero_point if self.b_zero_point.size else 0)
            sums -= row_zero[:, None] * less.sum(axis=0, dtype=np.int32)
        return self.way.numpy(sums, row_scale)


def prepare_product(
    b: NDArray[Any] | PackedWeight,
    way: WayOut,
    *,
    a_dtype: Any,
    a_zero_point: int = 0,
    b_zero_point: int | Integers = 0,
    bias: Integers | None = None,
    isa: KernelPath | None = None,
) -> PreparedProduct:
    """Check all but A; pack B; fold zero points and bias.

    Args:
        b: (K, N) int8 or uint8, or packed.
        way: what becomes of the sums, see `ways`: of N channels, or ``integers()``.
        a_dtype: of the matrices to come, int8 or uint8.
        a_zero_point: theirs, within int32.
        b_zero_point: of ``b``, within int32, or (N,) int32 of its columns.
        bias: (N,) int32.
        isa: the kernel; None takes ``NUMQ_ISA`` or the best. A packed weight brings its own.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: an argument has a shape or a value that does not fit.
    """
    limits_of(a_dtype, EIGHT_BIT_LIMITS)
    a_dtype = np.dtype(a_dtype)
    a_zero = checked_integer("a_zero_point", a_zero_point, *INT32_ENDS)
    weight = b if isinstance(b, PackedWeight) else pack_weight(b, isa=isa)
    if isa is not None:
        choose(isa)
    n = weight.shape[1]
    if way.mode is not Mode.INTEGERS and way.channels != n:
        raise ValueError(f"way has {way.channels} channels; allowed are the {n} of b")
    no_zero = type(b_zero_point) is int and not b_zero_point
    b_zero = NO_INTS if no_zero else integers_of("b_zero_point", b_zero_point, n)
    added = NO_INTS if bias is None else integers_of("bias", bias, n)
    b_zero, added = frozen(b_zero), frozen(added)
    kit = kernels(weight.isa)
    given = (weight, way, a_dtype, a_zero, b_zero, added)
    if kit is None:
        return PreparedProduct(*given, None, (), 0)
    fold = _folded(weight, SIGNS[a_dtype], a_zero, b_zero, added)
    k = weight.shape[0]
    operands = (SIGNS[a_dtype], weight.panels, *fold, rows_of_block(kit.tile, k))
    return PreparedProduct(*given, kit.packed, operands, walk_room(kit.tile, k))


def plain(weight: PackedWeight, a_dtype: np.dtype[Any]) -> PreparedProduct:
    """The product with nothing beside it, int32.

    What it needs beside A is made at the first one and kept with the weight; the product itself is
    not, as it holds the weight.
    """
    kept = weight.plain.get(a_dtype)
    if kept is None:
        made = prepare_product(weight, integers(), a_dtype=a_dtype)
        kept = weight.plain[a_dtype] = made.task, made.operands, made.room_bytes
    return PreparedProduct(weight, integers(), a_dtype, 0, NO_INTS, NO_INTS, *kept)


def _folded(
    weight: PackedWeight,
    sign: int,
    a_zero: int,
    b_zero: NDArray[np.int32],
    bias: NDArray[np.int32],
) -> Folded:
    """A is x, and B is the weight."""
    return folded(
        weight.column_sums, weight.shape[0], x_zero=a_zero, w_zero=b_zero, bias=bias,
        x_stored=stored_as_a(sign, TILES[weight.isa].shift),
        w_stored=stored_as_b(SIGNS[weight.dtype]),
    )  # fmt: skip
