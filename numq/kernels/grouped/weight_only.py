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

from numq.arguments import shown
from numq.kernels.grouped.activations import QMAX, GroupedActivation, quantize_activation
from numq.kernels.grouped.dot import (
    FLOAT_HEIGHTS,
    INTEGER_HEIGHTS,
    float4,
    float8,
    integer4,
    integer8,
)
from numq.kernels.grouped.weights import PANEL, STEP, PackedGroupedWeight
from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import inlined, njit
from numq.kernels.machine.parallel import Task, tasks_for
from numq.kernels.machine.tile import ISAS, TILES
from numq.kernels.operands import INT32_ENDS, checked_flag, checked_floats
from numq.kernels.passes.elementwise import Floats
from numq.kernels.product.loops import address

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
    chosen = choose(isa)
    per_row = checked_flag("per_row", per_row)
    _check_operands(x, weight)
    _check_sums(weight)
    if not weight.groups:
        return np.zeros((len(x), weight.shape[1]), np.float32)
    heights = (1,) if chosen is Isa.NUMPY else INTEGER_HEIGHTS[TILES[chosen].isa]
    a = quantize_activation(x, weight.group, per_row=per_row, heights=heights, isa=chosen)
    if chosen is Isa.NUMPY:
        return integer_numpy(a, weight)
    tiles, _, height, _ = a.quads.shape
    out = np.empty((tiles * height, weight.shape[1]), np.float32)
    block = max(1, ACTIVATION_BYTES * tiles // max(1, a.quads.size))
    arguments = a.quads, a.scales, a.offsets
    return _run(_task("integer", weight.bits, chosen), arguments, weight, out, block)[: len(x)]


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
    chosen = choose(isa)
    _check_operands(x, weight)
    grouped = _in_groups(x, weight)
    if chosen is Isa.NUMPY:
        return float_numpy(grouped, weight)
    height, out = _float_height(chosen), np.empty((len(x), weight.shape[1]), np.float32)
    block = height * max(1, ACTIVATION_BYTES // (4 * height * max(1, x.shape[1])))
    return _run(_task("float", weight.bits, chosen), (grouped,), weight, out, block)


def _check_operands(x: Floats, weight: PackedGroupedWeight) -> None:
    if not isinstance(weight, PackedGroupedWeight):
        raise TypeError(f"weight is {shown(weight)}; allowed: what pack_grouped_weight makes")
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


def _in_groups(x: Floats, weight: PackedGroupedWeight) -> Floats:
    """(M, K) as (M, groups, depth); a copy, filled up with zeros, only where it is needed."""
    (m, k), groups, group, depth = x.shape, weight.groups, weight.group, weight.depth
    if k == groups * depth:
        return np.ascontiguousarray(x).reshape(m, groups, depth)
    whole = np.zeros((m, groups * group), np.float32)
    whole[:, :k] = x
    if group == depth:
        return whole.reshape(m, groups, depth)
    filled = np.zeros((m, groups, depth), np.float32)
    filled[:, :, :group] = whole.reshape(m, groups, group)
    return filled


def _float_height(isa: KernelPath) -> int:
    return max(FLOAT_HEIGHTS.get(TILES[isa].isa, (1,)))


def _run(
    task: Task, given: tuple[Any, ...], weight: PackedGroupedWeight, out: Floats, block: int
) -> Floats:
    if not weight.groups:
        out[...] = 0
    elif out.size:
        tasks = min(tasks_for(out.size * weight.shape[0]), len(weight.codes))
        task.run_all(
            tasks, *given, weight.codes, weight.scales, weight.zero_points, out, block, tasks
        )
    return out


# One function is compiled for each way, width of the codes and instruction set.


@inlined
def share(panels, zero_points, tasks, task):
    """The panels of a task, from and to, and the bytes from zero points to the next ones.

    Of the next panel and of the next group: 0 where they are all the same.
    """
    across = 0 if zero_points.shape[0] == 1 else zero_points.strides[0]
    along = 0 if zero_points.shape[1] == 1 else zero_points.strides[1]
    return panels * task // tasks, panels * (task + 1) // tasks, across, along


@inlined
def integer_walk(
    panel, isa, quads, a_scales, a_offsets, codes, scales, zero_points, out, block, tasks, task
):
    """``block`` tiles of activations at a time, all panels of the task."""
    (tiles, _, height, _), groups, n = quads.shape, a_scales.shape[1], out.shape[1]
    begin, end, across, along = share(len(codes), zero_points, tasks, task)
    for top in range(0, tiles, block):
        for p in range(begin, end):
            for t in range(top, min(tiles, top + block)):
                panel(
                    isa, height, n - PANEL * p, groups, quads.shape[1] // (2 * groups),
                    address(codes) + p * codes.strides[0], address(scales) + p * scales.strides[0],
                    address(zero_points) + p * across, along, address(quads) + t * quads.strides[0],
                    address(a_scales) + t * a_scales.strides[0],
                    address(a_offsets) + t * a_offsets.strides[0],
                    address(out) + 4 * (t * height * n + PANEL * p), 4 * n,
                )  # fmt: skip


@inlined
def float_walk(panel, isa, height, x, codes, scales, zero_points, out, block, tasks, task):
    """``block`` rows at a time, all panels of the task; ``height`` rows share a read panel."""
    (m, groups, depth), n = x.shape, out.shape[1]
    begin, end, across, along = share(len(codes), zero_points, tasks, task)
    for top in range(0, m, block):
        bottom = min(m, top + block)
        for p in range(begin, end):
            for i in range(top, bottom, height):
                panel(
                    isa, min(height, bottom - i), n - PANEL * p, groups, depth // STEP,
                    address(codes) + p * codes.strides[0], address(scales) + p * scales.strides[0],
                    address(zero_points) + p * across, along, address(x) + i * x.strides[0],
                    x.strides[0], address(out) + 4 * (i * n + PANEL * p), 4 * n,
                )  # fmt: skip


def _integer4(isa: int) -> Callable[..., None]:
    def numq_integer4(a, a_s, a_o, codes, scales, zeros, out, block, tasks, task):
        panel = integer4
        integer_walk(panel, isa, a, a_s, a_o, codes, scales, zeros, out, block, tasks, task)

    return numq_integer4


def _integer8(isa: int) -> Callable[..., None]:
    def numq_integer8(a, a_s, a_o, codes, scales, zeros, out, block, tasks, task):
        panel = integer8
        integer_walk(panel, isa, a, a_s, a_o, codes, scales, zeros, out, block, tasks, task)

    return numq_integer8


def _float4(isa: int, height: int) -> Callable[..., None]:
    def numq_float4(x, codes, scales, zeros, out, block, tasks, task):
        panel = float4
        float_walk(panel, isa, height, x, codes, scales, zeros, out, block, tasks, task)

    return numq_float4


def _float8(isa: int, height: int) -> Callable[..., None]:
    def numq_float8(x, codes, scales, zeros, out, block, tasks, task):
        panel = float8
        float_walk(panel, isa, height, x, codes, scales, zeros, out, block, tasks, task)

    return numq_float8


@cache
def _task(way: str, bits: int, isa: KernelPath) -> Task:
    """Compile, or load from disk, when first asked for."""
    given: tuple[Any, ...]
    if way == "integer":
        function = (_integer4 if bits == 4 else _integer8)(ISAS.index(isa))
        given = _array(types.int8, 4), _array(types.float32, 3), _array(types.int32, 3)
    else:
        function = (_float4 if bits == 4 else _float8)(ISAS.index(isa), _float_height(isa))
        given = (_array(types.float32, 3),)
    weight = _array(types.uint8, 3), _array(types.float32, 3), _array(types.uint8, 3)
    out, number = types.Array(types.float32, 2, "C"), types.int64
    return Task(njit(function), (*given, *weight, out, number, number, number))


def _array(lane: Any, axes: int) -> Any:
    return types.Array(lane, axes, "C", readonly=True)
