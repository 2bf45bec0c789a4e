"""Float32 activations times weights of 4 or 8 bits: ``(M, K) @ (K, N) -> (M, N)`` float32.

Such a product with one or a few rows runs at the speed of memory, so a weight of half a byte makes
it eight times faster than one of four. There are two ways, and the caller says which:

``matmul_float``
    The activation stays float32. In every group of K four sums run side by side, number j over the
    k's with ``k mod 4 == j`` (counted from the start of the group, in rising order); then

        total = total + ((sum0 + sum1) + (sum2 + sum3)) * scale          group after group

``matmul_integer``
    The activation is first quantized to int8, symmetrically, with a scale per group of K or per row
    (ONNX Runtime calls the former accuracy level 4); products and sums within a group are then
    exact integers, and

        total = total + float32(integer sum) * (a_scale * scale)         group after group

Each float32 operation is rounded once, never fused: the same bits on every machine, for every
number of threads and rows. A row with NaN or infinity gives a row of NaN in the integer way, and
what float32 arithmetic gives in the other.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from numq.arguments import flag, shown
from numq.kernels.grouped.activations import QMAX, GroupedActivation, quantized_tiles
from numq.kernels.grouped.panel import FLOAT_HEIGHTS, INTEGER_HEIGHTS, floating, integer
from numq.kernels.grouped.weights import PANEL, STEP, PackedGroupedWeight
from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import address, inlined, njit
from numq.kernels.machine.parallel import TASK_MACS, Task, given_array, made_array, tasks_for
from numq.kernels.machine.tile import ISAS, TILES
from numq.kernels.operands import INT32_ENDS, checked_floats
from numq.kernels.passes.elementwise import Floats

ACTIVATION_BYTES = 1 << 18  #: of activations at most between two walks through the weight


def matmul_integer(
    x: Floats, weight: PackedGroupedWeight, *, per_row: bool = False, isa: KernelPath | None = None
) -> Floats:
    """``x @ weight`` with integer products.

    Args:
        x: (M, K) float32, any strides.
        weight: a packed (K, N).
        per_row: one activation scale for a whole row instead of one for each group of K.
        isa: the instruction set; None takes ``NUMQ_ISA`` or the best.

    Raises:
        TypeError: ``x`` is not float32, or ``weight`` not packed.
        ValueError: the shapes do not match, or the sum of a group could leave int32.
    """
    return IntegerProduct(weight, per_row=per_row, isa=isa)(x)


def matmul_float(
    x: Floats, weight: PackedGroupedWeight, *, isa: KernelPath | None = None
) -> Floats:
    """``x @ weight`` in float32.

    Args:
        x: (M, K) float32, any strides.
        weight: a packed (K, N).
        isa: the instruction set; None takes ``NUMQ_ISA`` or the best.

    Raises:
        TypeError: ``x`` is not float32, or ``weight`` not packed.
        ValueError: the shapes do not match.
    """
    return FloatProduct(weight, isa=isa)(x)


class IntegerProduct:
    """``matmul_integer`` by one weight, prepared: a call only runs."""

    def __init__(
        self, weight: PackedGroupedWeight, *, per_row: bool = False, isa: KernelPath | None = None
    ) -> None:
        """Arguments and errors are those of ``matmul_integer``."""
        isa, per_row = choose(isa), flag(per_row, "per_row")
        _check_sums(_checked_weight(weight))
        heights = (1,) if isa is Isa.NUMPY else INTEGER_HEIGHTS[TILES[isa].isa]
        self._tiles = weight.group, weight.depth, per_row, heights, isa
        self._weight = weight
        self._run = None if isa is Isa.NUMPY else _Run(_integer_task(weight.bits, isa), weight)

    def __call__(self, x: Floats) -> Floats:
        """(M, N) float32 of (M, K), any strides; errors are those of ``matmul_integer``."""
        _check_rows(x, self._weight)
        if not self._weight.codes.size:
            return np.zeros((len(x), self._weight.shape[1]), np.float32)
        a = quads, _, _ = quantized_tiles(x, *self._tiles)
        if self._run is None:
            return integer_numpy(GroupedActivation(len(x), *a), self._weight)
        tiles, _, height, _ = quads.shape
        block = max(1, ACTIVATION_BYTES * tiles // max(1, quads.size))
        return self._run(tiles * height, a, block)[: len(x)]


class FloatProduct:
    """``matmul_float`` by one weight, prepared: a call only runs."""

    def __init__(self, weight: PackedGroupedWeight, *, isa: KernelPath | None = None) -> None:
        """Arguments and errors are those of ``matmul_float``."""
        isa = choose(isa)
        self._weight = _checked_weight(weight)
        self._groups = (weight.groups, weight.group, weight.depth)
        self._run = None if isa is Isa.NUMPY else _Run(_float_task(weight.bits, isa), weight)
        if isa is not Isa.NUMPY:
            height = FLOAT_HEIGHTS[TILES[isa].isa][-1]
            row = 4 * height * max(1, weight.shape[0])
            self._block = height * max(1, ACTIVATION_BYTES // row)

    def __call__(self, x: Floats) -> Floats:
        """(M, N) float32 of (M, K), any strides; errors are those of ``matmul_float``."""
        _check_rows(x, self._weight)
        groups, group, depth = self._groups
        if x.shape[1] == groups * depth:
            x = np.ascontiguousarray(x).reshape(len(x), groups, depth)
        else:
            x = _in_groups(x, groups, group, depth)
        if self._run is None:
            return float_numpy(x, self._weight)
        return self._run(len(x), (x,), self._block)


class _Run:
    """A compiled product by one weight: rows and activations in, float32 out."""

    def __init__(self, task: Task, weight: PackedGroupedWeight) -> None:
        self._task, self._columns = task, weight.shape[1]
        self._macs, self._most = weight.shape[0] * weight.shape[1], len(weight.codes)
        self._panels = weight.codes, weight.scales, weight.zero_points

    def __call__(self, rows: int, given: tuple[Any, ...], block: int) -> Floats:
        out = np.empty((rows, self._columns), np.float32)
        macs = rows * self._macs
        tasks = 1 if macs < TASK_MACS else min(tasks_for(macs), self._most)
        if out.size:
            self._task.run_all(tasks, *given, *self._panels, out, block, tasks)
        return out


def _checked_weight(weight: Any) -> PackedGroupedWeight:
    if not isinstance(weight, PackedGroupedWeight):
        raise TypeError(f"weight is {shown(weight)}; allowed is what pack_grouped_weight makes")
    return weight


def _check_rows(x: Any, weight: PackedGroupedWeight) -> None:
    checked_floats("x", x)
    if x.ndim != 2 or x.shape[1] != weight.shape[0]:
        raise ValueError(f"x has shape {x.shape}; allowed is (M, {weight.shape[0]})")


def _check_sums(weight: PackedGroupedWeight) -> None:
    """A group's products must add up within int32; only long groups are looked at more closely."""
    group = min(weight.group, weight.shape[0])
    if group * QMAX * 255 > INT32_ENDS[1]:
        zeros, highest = weight.stored_zero_points(), (1 << weight.bits) - 1
        reach = max(int(zeros.max(initial=0)), highest - int(zeros.min(initial=highest)))
        if group * QMAX * reach > INT32_ENDS[1]:
            most = INT32_ENDS[1] // (QMAX * reach)
            raise ValueError(f"weight has groups of {group}; allowed are at most {most}")


def integer_numpy(a: GroupedActivation, weight: PackedGroupedWeight) -> Floats:
    """The definition of the integer way."""
    steps, scales = _steps(weight), weight.column_scales()
    codes, a_scales = a.codes(), a.row_scales()
    total = np.zeros((len(codes), weight.shape[1]), np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for g in range(weight.groups):
            sums = codes[:, g].astype(np.float64) @ steps[g].astype(np.float64)  # exact
            total += sums.astype(np.float32) * (a_scales[:, g, None] * scales[g])
    return total


def float_numpy(x: Floats, weight: PackedGroupedWeight) -> Floats:
    """The definition of the float way, for ``x`` in groups: (M, groups, depth)."""
    steps, scales = _steps(weight).astype(np.float32), weight.column_scales()
    total = np.zeros((len(x), weight.shape[1]), np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for g in range(weight.groups):
            sums = np.zeros((4, *total.shape), np.float32)
            for k in range(weight.depth):
                sums[k % 4] += x[:, g, k, None] * steps[g, k]
            total += ((sums[0] + sums[1]) + (sums[2] + sums[3])) * scales[g]
    return total


def _steps(weight: PackedGroupedWeight) -> NDArray[np.int32]:
    """(groups, depth, N) of ``code - zero_point``; zeros where a group is filled up."""
    (k, n), groups = weight.shape, weight.groups
    number = np.arange(k) // weight.group
    steps = weight.stored_codes().astype(np.int32) - weight.stored_zero_points()[number]
    whole = np.zeros((groups * weight.group, n), np.int32)
    whole[:k] = steps
    filled = np.zeros((groups, weight.depth, n), np.int32)
    filled[:, : weight.group] = whole.reshape(groups, weight.group, n)
    return filled


def _in_groups(x: Floats, groups: int, group: int, depth: int) -> Floats:
    """(M, K) as (M, groups, depth): a copy, filled up with zeros."""
    m, k = x.shape
    whole = np.zeros((m, groups * group), np.float32)
    whole[:, :k] = x
    if group == depth:
        return whole.reshape(m, groups, depth)
    filled = np.zeros((m, groups, depth), np.float32)
    filled[:, :, :group] = whole.reshape(m, groups, group)
    return filled


@inlined
def share(panels, zero_points, tasks, task):
    """The panels of a task, from and to, and the bytes from zero points to the next ones.

    Of the next panel and of the next group: 0 where they are all the same.
    """
    across = 0 if zero_points.shape[0] == 1 else zero_points.strides[0]
    along = 0 if zero_points.shape[1] == 1 else zero_points.strides[1]
    return panels * task // tasks, panels * (task + 1) // tasks, across, along


def _integer(bits: int, isa: int) -> Callable[..., None]:
    def numq_grouped_integer(
        quads, a_scales, a_offsets, codes, scales, zeros, out, block, tasks, task
    ):  # ``block`` tiles of activations at a time, all panels of the task
        (tiles, _, height, _), groups, n = quads.shape, a_scales.shape[1], out.shape[1]
        begin, end, across, along = share(len(codes), zeros, tasks, task)
        for top in range(0, tiles, block):
            for p in range(begin, end):
                for t in range(top, min(tiles, top + block)):
                    integer(
                        isa, height, n - PANEL * p, groups, quads.shape[1] // (2 * groups),
                        address(codes) + p * codes.strides[0],
                        address(scales) + p * scales.strides[0], address(zeros) + p * across, along,
                        address(quads) + t * quads.strides[0],
                        address(a_scales) + t * a_scales.strides[0],
                        address(a_offsets) + t * a_offsets.strides[0],
                        address(out) + 4 * (t * height * n + PANEL * p), 4 * n, bits,
                    )  # fmt: skip

    return numq_grouped_integer


def _float(bits: int, isa: int, height: int) -> Callable[..., None]:
    def numq_grouped_float(x, codes, scales, zeros, out, block, tasks, task):
        # ``block`` rows at a time, all panels of the task; ``height`` rows share a read panel
        (m, groups, depth), n = x.shape, out.shape[1]
        begin, end, across, along = share(len(codes), zeros, tasks, task)
        for top in range(0, m, block):
            bottom = min(m, top + block)
            for p in range(begin, end):
                for i in range(top, bottom, height):
                    floating(
                        isa, min(height, bottom - i), n - PANEL * p, groups, depth // STEP,
                        address(codes) + p * codes.strides[0],
                        address(scales) + p * scales.strides[0], address(zeros) + p * across, along,
                        address(x) + i * x.strides[0], x.strides[0],
                        address(out) + 4 * (i * n + PANEL * p), 4 * n, bits,
                    )  # fmt: skip

    return numq_grouped_float


@cache
def _integer_task(bits: int, isa: KernelPath) -> Task:
    given = given_array(types.int8, 4), given_array(types.float32, 3), given_array(types.int32, 3)
    return _task(_integer(bits, ISAS.index(isa)), given)


@cache
def _float_task(bits: int, isa: KernelPath) -> Task:
    height = FLOAT_HEIGHTS[TILES[isa].isa][-1]
    return _task(_float(bits, ISAS.index(isa), height), (given_array(types.float32, 3),))


def _task(function: Callable[..., None], given: tuple[Any, ...]) -> Task:
    """Compile, or load from disk."""
    weight = given_array(types.uint8, 3), given_array(types.float32, 3), given_array(types.uint8, 3)
    out, number = made_array(types.float32, 2), types.int64
    return Task(njit(function), (*given, *weight, out, number, number, number))
