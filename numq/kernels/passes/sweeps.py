"""What is compiled for the elementwise passes: one loop over runs, around the vector code of each.

A block (outer, channels, inner) in memory order is a row of runs. Either a run has one scale, those
of ``width`` neighbours being the same, or ``width`` scales repeat from run to run.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from functools import cache
from typing import Any

from numba import types

from numq.kernels.machine.cpu import Isa
from numq.kernels.machine.jit import get_threads, inlined, njit
from numq.kernels.machine.parallel import Task
from numq.kernels.machine.tile import ISAS
from numq.kernels.passes.runs import (
    LANES,
    dequantize8_across,
    dequantize8_run,
    dequantize16_across,
    dequantize16_run,
    fake_quantize_across,
    fake_quantize_run,
    quantize8_across,
    quantize8_run,
    quantize16_across,
    quantize16_run,
)
from numq.kernels.product.loops import address

ANY = ISAS.index(Isa.GENERIC)  #: these kernels are the same for each
TASK_SIZE = 1 << 18  #: fewer elements are not worth waking a thread for
FLAWS = 2 * LANES  #: int32 for a task to note flaws in: two cache lines, so that none is shared


def tasks_of(size: int) -> int:
    """How many tasks to make of a pass over ``size`` elements."""
    return 1 if size < 2 * TASK_SIZE else min(get_threads(), size // TASK_SIZE)


@inlined
def share_of(size, tasks, task):
    """Where task ``task`` begins: at a multiple of 64, so that tasks seldom share a cache line."""
    return min(size, (size + 63) // 64 * task // tasks * 64)


@inlined
def sweep(run, across, x, s, z, first, second, out, flaws, width, spread, tasks, task):
    """Cut the task's share of ``x`` into runs of ``width``, or pieces of them.

    Args:
        run: the vector code for a run with one scale.
        across: the vector code for a run with a scale for each element.
        x: (size,) what is read.
        s: float32 scales: one for each channel, or for each element of a run.
        z: int32 zero points, as many.
        first: the first number that the vector code takes: qmin, or the sign bit.
        second: the second one: qmax.
        out: (size,) what is written.
        flaws: (tasks, FLAWS) int32; then ``flaws[task, 0]`` is not 0 if NaN or infinity came by.
        width: elements of a run.
        spread: whether each element of a run has its own scale.
        tasks: into how many shares ``x`` is cut.
        task: which of them this is.
    """
    at, end = share_of(x.size, tasks, task), share_of(x.size, tasks, task + 1)
    found = address(flaws) + task * flaws.strides[0]
    row = at // width
    channel = row % s.size
    while at < end:
        stop = min(end, (row + 1) * width)
        skip = 4 * (at - row * width if spread else channel)
        source, target = address(x) + at * x.itemsize, address(out) + at * out.itemsize
        scale, zero = address(s) + skip, address(z) + skip
        if spread:
            across(ANY, stop - at, source, scale, zero, first, second, target, found)
        else:
            run(ANY, stop - at, source, scale, zero, first, second, target, found)
        at = stop
        row += 1
        channel = 0 if channel + 1 == s.size else channel + 1
    for lane in range(1, LANES):
        flaws[task, 0] |= flaws[task, lane]


def numq_quantize8(x, s, z, a, b, out, flaws, width, spread, tasks, task):
    """See ``quantize8_run`` in `runs`."""
    run, across = quantize8_run, quantize8_across
    sweep(run, across, x, s, z, a, b, out, flaws, width, spread, tasks, task)


def numq_quantize16(x, s, z, a, b, out, flaws, width, spread, tasks, task):
    """See ``quantize16_run`` in `runs`."""
    run, across = quantize16_run, quantize16_across
    sweep(run, across, x, s, z, a, b, out, flaws, width, spread, tasks, task)


def numq_fake_quantize(x, s, z, a, b, out, flaws, width, spread, tasks, task):
    """See ``fake_quantize_run`` in `runs`."""
    run, across = fake_quantize_run, fake_quantize_across
    sweep(run, across, x, s, z, a, b, out, flaws, width, spread, tasks, task)


def numq_dequantize8(x, s, z, a, b, out, flaws, width, spread, tasks, task):
    """See ``dequantize8_run`` in `runs`."""
    run, across = dequantize8_run, dequantize8_across
    sweep(run, across, x, s, z, a, b, out, flaws, width, spread, tasks, task)


def numq_dequantize16(x, s, z, a, b, out, flaws, width, spread, tasks, task):
    """See ``dequantize16_run`` in `runs`."""
    run, across = dequantize16_run, dequantize16_across
    sweep(run, across, x, s, z, a, b, out, flaws, width, spread, tasks, task)


_KERNELS = {
    "quantize8": (numq_quantize8, types.float32, types.int8),
    "quantize16": (numq_quantize16, types.float32, types.int16),
    "fake_quantize": (numq_fake_quantize, types.float32, types.float32),
    "dequantize8": (numq_dequantize8, types.int8, types.float32),
    "dequantize16": (numq_dequantize16, types.int16, types.float32),
}


@cache
def sweep_task(kernel: str) -> Task:
    """Compile, or load from disk, when first asked for."""
    function, source, target = _KERNELS[kernel]
    given = (given_line(lane) for lane in (source, types.float32, types.int32))
    made = line(target), types.Array(types.int32, 2, "C")
    number = types.int64
    signature = (*given, number, number, *made, number, types.boolean, number, number)
    return Task(njit(function), signature)


def line(lane: Any) -> Any:
    """The Numba type of a contiguous vector."""
    return types.Array(lane, 1, "C")


def given_line(lane: Any) -> Any:
    """The same, read-only."""
    return types.Array(lane, 1, "C", readonly=True)
