"""One convolution through the compiled kernels: which of them, and its correction terms.

`fused` derives the corrections. With A stored as ``a + s`` and B as ``b - t``, and one of them the
weight and the other the patches, they are

    weight as A:   row term     (t - x_zero) * (sum(w) - K * w_zero) + bias
                   column term  -(s + w_zero) * colsum(B)
    weight as B:   column term  -(s + x_zero) * (sum(w) - K * w_zero) + bias
                   row term     (t - w_zero) * rowsum(A)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.convolution.columns import pixels_of_block, sections_of
from numq.kernels.convolution.depthwise import depthwise_sections_of
from numq.kernels.convolution.entries import conv_kernels
from numq.kernels.convolution.rows import row_sections_of, rows_of_block
from numq.kernels.convolution.shape import Layout, Plan, Shape, flattened, plan_of
from numq.kernels.convolution.weights import SPARE_TERMS, PackedConvWeight
from numq.kernels.machine.jit import get_threads
from numq.kernels.machine.parallel import tasks_for
from numq.kernels.machine.tile import Tile
from numq.kernels.machine.workspace import room
from numq.kernels.operands import checked_sign
from numq.kernels.product.fused import NO_INTS

Zeros = tuple[int, NDArray[np.int32], NDArray[np.int32]]  #: of x, of w, and the bias
Sizes = tuple[int, int, NDArray[np.int64]]  #: tasks, bytes of room for each, all numbers
DEPTHWISE_COST = 16  #: multiplications of a product that take as long as one of these


def run_conv(
    x: NDArray[Any],
    weight: PackedConvWeight,
    shape: Shape,
    layout: Layout,
    zeros: Zeros,
    dtype: np.dtype[Any],
    way_out: tuple[Any, ...],
) -> NDArray[Any]:
    """Convolve.

    Args:
        x: the image, not empty.
        weight: the weight.
        shape: the sizes.
        layout: of ``x`` and of the result.
        zeros: zero points and bias.
        dtype: of the result.
        way_out: mode, multiplier or scale, float bias, zero point, qmin, qmax.
    """
    channels = shape.groups * shape.outputs
    sizes = (channels, shape.out_h, shape.out_w)
    if layout is Layout.NHWC:
        sizes = (*sizes[1:], channels)
    result = np.empty((shape.batch, *sizes), dtype)
    flat = np.ascontiguousarray(x).view(np.int8).reshape(-1)
    run = _run_columns if layout is Layout.NCHW else _run_rows
    if shape.depthwise and (layout is Layout.NCHW or shape.outputs == 1):
        run = _run_planes if layout is Layout.NCHW else _run_channels
    run(flat, checked_sign("x", x), weight, shape, zeros, way_out, result.reshape(-1).view(np.int8))
    return result


def _run_columns(
    x: NDArray[np.int8],
    sign: int,
    weight: PackedConvWeight,
    shape: Shape,
    zeros: Zeros,
    way_out: tuple[Any, ...],
    out: NDArray[np.int8],
) -> None:
    """The weight as A, patches as B."""
    kit, (x_zero, w_zero, bias) = conv_kernels(weight.isa), zeros
    q = (0 if sign else 128) - x_zero
    factors = w_zero + np.int32(_shift(kit.tile, weight.sign))
    terms = bias + np.int32(q) * _sums(weight, w_zero)
    tasks, size, sizes = _columns_layout(shape, kit.tile, get_threads())
    uniform = int((factors == factors[0]).all())
    kit.columns.run_all(
        tasks, x, sign, -q, weight.rows, terms, factors, uniform, sizes, *way_out, out,
        room(tasks, size),
    )  # fmt: skip


def _run_rows(
    x: NDArray[np.int8],
    sign: int,
    weight: PackedConvWeight,
    shape: Shape,
    zeros: Zeros,
    way_out: tuple[Any, ...],
    out: NDArray[np.int8],
) -> None:
    """Patches as A, the weight as B."""
    kit, (x_zero, w_zero, bias) = conv_kernels(weight.isa), zeros
    p = x_zero + _shift(kit.tile, sign)
    factors = np.int32(0 if weight.sign else 128) - w_zero
    terms = np.zeros(bias.size + SPARE_TERMS, np.int32)
    terms[: bias.size] = bias - np.int32(p) * _sums(weight, w_zero)
    tasks, size, sizes = _rows_layout(shape, kit.tile, get_threads())
    border = x_zero if x_zero < 128 else x_zero - 256  # the byte, as int8 reads it
    kit.rows.run_all(
        tasks, x, sign, border, weight.panels, terms, factors if factors.any() else NO_INTS,
        sizes, *way_out, out, room(tasks, size),
    )  # fmt: skip


def _run_planes(
    x: NDArray[np.int8],
    sign: int,
    weight: PackedConvWeight,
    shape: Shape,
    zeros: Zeros,
    way_out: tuple[Any, ...],
    out: NDArray[np.int8],
) -> None:
    """Depthwise, NCHW."""
    tasks, size, sizes = _depthwise_layout(shape, False, get_threads())
    given = _depthwise_arguments(sign, weight, zeros)
    task = conv_kernels(weight.isa).planes
    task.run_all(tasks, x, sign, *given, sizes, *way_out, out, room(tasks, size))


def _run_channels(
    x: NDArray[np.int8],
    sign: int,
    weight: PackedConvWeight,
    shape: Shape,
    zeros: Zeros,
    way_out: tuple[Any, ...],
    out: NDArray[np.int8],
) -> None:
    """Depthwise, NHWC, as many output channels as input channels."""
    tasks, size, sizes = _depthwise_layout(shape, True, get_threads())
    given = _depthwise_arguments(sign, weight, zeros)
    task = conv_kernels(weight.isa).channels
    task.run_all(tasks, x, sign, *given, sizes, *way_out, out, room(tasks, size))


def _depthwise_arguments(
    sign: int, weight: PackedConvWeight, zeros: Zeros
) -> tuple[int, NDArray[np.int32], NDArray[np.int32]]:
    """The border, the weight less its zero points (taps, channels), the terms."""
    x_zero, w_zero, bias = zeros
    factors = weight.taps
    if w_zero.any():
        factors = factors.copy()
        factors[: weight.values.size].reshape(-1, len(bias))[...] -= w_zero
    terms = np.zeros(bias.size + SPARE_TERMS, np.int32)
    terms[: bias.size] = bias - np.int32(x_zero + sign) * _sums(weight, w_zero)
    return x_zero if x_zero < 128 else x_zero - 256, factors, terms


@lru_cache
def _depthwise_layout(shape: Shape, channels: bool, _threads: int) -> Sizes:
    tasks = max(1, tasks_for(DEPTHWISE_COST * shape.macs))
    parts = tasks if channels and shape.batch % tasks else 1
    jobs = shape.batch * (parts if channels else shape.groups * shape.outputs)
    plan = Plan(min(tasks, jobs), jobs, 1, parts, 0)
    at = depthwise_sections_of(shape, plan, shape.groups if channels else 1)
    return plan.tasks, at.size, flattened(shape, plan, at)


@lru_cache
def _columns_layout(shape: Shape, tile: Tile, _threads: int) -> Sizes:
    plan = plan_of(shape, pixels_of_block(shape, tile), tile.columns)
    at = sections_of(shape, plan, tile)
    return plan.tasks, at.size, flattened(shape, plan, at)


@lru_cache
def _rows_layout(shape: Shape, tile: Tile, _threads: int) -> Sizes:
    plan = plan_of(shape, rows_of_block(shape, tile), tile.columns)
    at = row_sections_of(shape, plan, tile)
    return plan.tasks, at.size, flattened(shape, plan, at)


def _sums(weight: PackedConvWeight, w_zero: NDArray[np.int32]) -> NDArray[np.int32]:
    """``sum(w - w_zero)`` of each output channel."""
    return weight.sums - np.int32(weight.depth) * w_zero


def _shift(tile: Tile, sign: int) -> int:
    """What packing as A adds."""
    return tile.shift if sign else 0
