"""Requantization of sums that lie in memory: the ways out of a product, over a plain array."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from numq.arguments import shown
from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import address, njit
from numq.kernels.machine.parallel import Task
from numq.kernels.machine.tile import ISAS
from numq.kernels.operands import INT32, checked_array
from numq.kernels.product.epilogue import leave_columns, leave_rows
from numq.kernels.product.ways import WayOut


def requantize(
    sums: NDArray[np.int32], way: WayOut, *, isa: KernelPath | None = None
) -> NDArray[Any]:
    """What comes out of (..., N) sums; a way of one channel takes sums of any shape.

    Args:
        sums: int32, any strides.
        way: for N channels along the last axis, or for one.
        isa: the kernel to use; None takes ``NUMQ_ISA`` or the best.

    Raises:
        TypeError: ``sums`` are not int32.
        ValueError: ``way`` has another number of channels.
    """
    checked_array("sums", sums, (INT32,))
    if not isinstance(way, WayOut):
        raise TypeError(f"way is {shown(way)}; allowed is a WayOut")
    channels = way.channels
    if channels != 1 and sums.shape[-1:] != (channels,):
        raise ValueError(
            f"sums has shape {sums.shape}, way {channels} channels; allowed are (..., N) and N"
        )
    flat = np.ascontiguousarray(sums).reshape(-1 if sums.size else 0, channels)
    chosen = choose(isa)
    if chosen is Isa.NUMPY:
        return way.numpy(flat).reshape(sums.shape)
    out = np.empty(sums.shape, way.dtype)
    if sums.size:
        _task(chosen).run(flat, way.record, out.reshape(flat.shape).view(np.int8), 0)
    return out


@cache
def _task(isa: KernelPath) -> Task:
    sums = types.Array(types.int32, 2, "C", readonly=True)
    record = types.Array(types.int8, 1, "C", readonly=True)
    out = types.Array(types.int8, 2, "C")
    return Task(njit(_requantize(ISAS.index(isa))), (sums, record, out, types.int64))


def _requantize(isa: int) -> Callable[..., None]:
    def numq_requantize(sums, record, out, task):
        nothing = np.zeros(1, np.int32)
        rows, columns = sums.shape
        place, goal, way = address(sums), address(out), address(record)
        if columns == 1:  # one channel for all: a single long row
            leave_rows(isa, way, 0, place, 0, 1, rows, address(nothing), goal, 0)
        else:
            step = out.strides[0]
            leave_columns(isa, way, 0, place, 4 * columns, rows, columns, 0, goal, step)

    return numq_requantize
