"""Activations quantized to int8 for integer products, with a scale for each group of K or each row.

    scale = max |x| / 127,    code = clip(rint(x / scale), -127, 127)

with the rules for scales of `ranges`. Rows come in *tiles* of ``height``, laid out as a product
reads them: four k's of each row, then the next four k's. Groups begin where those of a packed
weight do, and are filled up with zeros. Beside the codes lie the sums that take the weight's zero
points out of a product.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import types
from numpy.typing import NDArray

from numq.arguments import flag
from numq.kernels.grouped.weights import padded
from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import address, njit
from numq.kernels.machine.parallel import Task, given_array, made_array
from numq.kernels.operands import checked_floats, checked_integer
from numq.kernels.passes.elementwise import Floats, quantize_numpy
from numq.kernels.passes.extremes import min_max_run, sum_run
from numq.kernels.passes.rows import grid_numpy, kept_finite, rounded_scale
from numq.kernels.passes.runs import LANES, QUANTIZE, SHARED, elementwise_run
from numq.kernels.passes.sharing import ANY, TASK_SIZE, tasks_of

QMAX = 127
QUAD = 4  #: k's that lie together
MOST = 2**31 - 1  #: k's of a group


@dataclass(frozen=True, eq=False)
class GroupedActivation:
    """int8 activations in groups along K."""

    rows: int  #: M
    quads: NDArray[np.int8]  #: (tiles, quads, height, 4)
    scales: NDArray[np.float32]  #: (tiles, groups, height); NaN throughout a row that is not finite
    offsets: NDArray[np.int32]  #: (tiles, groups, height), minus the sum of the codes

    def codes(self) -> NDArray[np.int8]:
        """(M, groups, depth) codes."""
        tiles, _, height, _ = self.quads.shape
        groups = self.scales.shape[1]
        depth = self.quads.shape[1] * QUAD // max(1, groups)
        return self.quads.swapaxes(1, 2).reshape(tiles * height, groups, depth)[: self.rows]

    def row_scales(self) -> Floats:
        """(M, groups) scales."""
        tiles, groups, height = self.scales.shape
        return self.scales.swapaxes(1, 2).reshape(tiles * height, groups)[: self.rows]


def quantize_activation(
    x: Floats,
    group: int,
    *,
    per_row: bool = False,
    heights: tuple[int, ...] = (1,),
    isa: KernelPath | None = None,
) -> GroupedActivation:
    """Quantize (M, K) float32 in groups of ``group`` along K; the last may be shorter.

    Args:
        x: the activations, any strides.
        group: k's of a group.
        per_row: one scale for all groups of a row.
        heights: the rows that a tile may have, rising from 1. Tiles are made equally high, the last
            filled up with zeros.
        isa: ``Isa.NUMPY`` for the NumPy form; all others are one kernel.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: ``x`` is no matrix, or ``group`` below 1.
    """
    checked_floats("x", x, axes=2)
    group, per_row = checked_integer("group", group, 1, MOST), flag(per_row, "per_row")
    made = quantized_tiles(x, group, padded(group), per_row, heights, choose(isa))
    return GroupedActivation(len(x), *made)


def quantized_tiles(
    x: Floats, group: int, depth: int, per_row: bool, heights: tuple[int, ...], isa: KernelPath
) -> tuple[NDArray[np.int8], Floats, NDArray[np.int32]]:
    """The arrays of a ``GroupedActivation``, unchecked; ``depth`` is the padded ``group``."""
    m, k = x.shape
    groups, tiles = -(-k // group), -(-m // heights[-1])
    height = heights[0]
    if m > 1:
        height = next(some for some in heights if some * tiles >= m)
    quads = np.empty((tiles, groups * depth // QUAD, height, QUAD), np.int8)
    scales = np.empty((tiles, groups, height), np.float32)
    offsets = np.empty((tiles, groups, height), np.int32)
    if isa is Isa.NUMPY:
        _quantize_numpy(x, group, per_row, quads, scales, offsets)
    elif x.size:
        tasks = 1 if x.size < TASK_SIZE else min(tasks_of(x.size), tiles)
        x, words = np.ascontiguousarray(x), quads.view(np.int32)
        _task().run_all(tasks, x, group, per_row, words, scales, offsets, tasks)
    return quads, scales, offsets


def _quantize_numpy(
    x: Floats,
    group: int,
    per_row: bool,
    quads: NDArray[np.int8],
    scales: Floats,
    offsets: NDArray[np.int32],
) -> None:
    """The definition."""
    (m, k), (tiles, groups, height) = x.shape, scales.shape
    finite = np.asarray(np.isfinite(x).all(1))[:, None, None]
    whole = np.zeros((m, groups * group), np.float32)
    whole[:, :k] = np.where(finite[:, 0], x, 0)
    whole = whole.reshape(m, groups, group)
    largest = np.abs(whole).max((1, 2) if per_row else 2, initial=0, keepdims=True)
    grids, zeros = grid_numpy(-largest, largest, True, -QMAX, QMAX)
    codes = np.zeros((tiles * height, groups, padded(group)), np.int8)
    codes[:m, :, :group] = quantize_numpy(whole, grids, zeros, -QMAX, QMAX, np.dtype(np.int8))
    spread = np.zeros((tiles * height, groups), np.float32)
    spread[:m] = np.where(finite, grids, np.float32(np.nan))[:, :, 0]
    quads[...] = codes.reshape(tiles, height, quads.shape[1], QUAD).swapaxes(1, 2)
    scales[...] = spread.reshape(tiles, height, groups).swapaxes(1, 2)
    offsets[...] = -codes.sum(2, dtype=np.int32).reshape(tiles, height, groups).swapaxes(1, 2)


def numq_quantize_activation(x, group, per_row, quads, scales, offsets, tasks, task):
    """The rows of the task's tiles: each is quantized group by group, then spread over its tile."""
    (m, k), (tiles, groups, height) = x.shape, scales.shape
    row, flaws = np.zeros(quads.shape[1], np.int32), np.zeros(LANES + 1, np.int32)  # 0 at the end
    ends, depth = np.empty(2, np.float32), 4 * (quads.shape[1] // groups)
    found, place = address(flaws), address(ends)
    for i in range(tiles * task // tasks * height, tiles * (task + 1) // tasks * height):
        tile, r, seen = i // height, i % height, 0
        for g in range(groups if i < m else 0):
            source, count = address(x) + 4 * (k * i + g * group), min(group, k - g * group)
            if g == 0 or not per_row:
                ends[0], ends[1] = np.inf, -np.inf
                min_max_run(ANY, k if per_row else count, source, place, found)
            largest = np.float64(max(-ends[0], ends[1]))
            scales[tile, g, r] = kept_finite(rounded_scale(largest / QMAX), QMAX)
            beside = 4 * ((tile * groups + g) * height + r)
            scale, zero, codes = (
                address(scales) + beside,
                found + 4 * LANES,
                address(row) + depth * g,
            )
            elementwise_run(
                ANY, count, source, scale, zero, -QMAX, QMAX, codes, found, QUANTIZE, 8, SHARED
            )
            sum_run(ANY, count, codes, address(offsets) + beside, -1)
        for lane in range(LANES):
            seen |= flaws[lane]
            flaws[lane] = 0
        void = seen != 0 or i >= m  # a row that is not finite, or that fills up a tile
        for q in range(quads.shape[1]):
            quads[tile, q, r, 0] = 0 if void else row[q]
        for g in range(groups if void else 0):
            scales[tile, g, r], offsets[tile, g, r] = np.nan if i < m else 0.0, 0


@cache
def _task() -> Task:
    number, word, real = types.int64, types.int32, types.float32
    made = made_array(word, 4), made_array(real, 3), made_array(word, 3)
    signature = (given_array(real, 2), number, types.boolean, *made, number, number)
    return Task(njit(numq_quantize_activation), signature)
