"""What the processor can do at most, as two loops that do nothing else.

``multiply`` repeats the instruction of the register tile on registers alone: no product can make
more multiplications in a second. ``read`` adds up an array: no pass over memory can be faster than
reading is. Both bound every kernel of this room from above; a benchmark times them.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from collections.abc import Callable
from functools import cache, reduce

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.ir import (
    I8,
    I32,
    Builder,
    Value,
    counted_loop,
    i64,
    load,
    offset,
    splat,
    store,
    vector,
    zeros,
)
from numq.kernels.machine.jit import address, get_threads, njit
from numq.kernels.machine.parallel import Task
from numq.kernels.machine.tile import ISAS, TILES, Tile, emitted
from numq.kernels.operands import checked_array, checked_integer
from numq.kernels.product.microkernel import dot

LINE_BYTES = 512  #: read in one turn: eight of the widest vectors


@emitted
def repeat_dot(b: Builder, tile: Tile, steps: Value, out: Value) -> None:
    """``steps`` times the dot instruction, once for each accumulator of the register tile.

    Every sum is its own left operand. That leaves nothing which the compiler could move out of the
    loop or compute once for all; the chains are as many as in the real tile, enough to hide the
    wait of each.
    """
    right = splat(b, b.trunc(steps, I8), tile.lanes * tile.group)
    start = splat(b, b.trunc(steps, I32), tile.lanes)
    kind = vector(I32, tile.lanes)
    sums = [b.add(start, ir.Constant(kind, [i] * tile.lanes)) for i in range(accumulators(tile))]
    sums = counted_loop(
        b, steps, sums, lambda _, totals: [dot(b, tile, x, x, right) for x in totals]
    )
    store(b, reduce(b.xor, sums), out)


def accumulators(tile: Tile) -> int:
    """Vectors of sums in the register tile."""
    return 2 * tile.rows


def multiply(steps: int, isa: KernelPath | None = None) -> int:
    """Run the register-only loop on every thread that a product may use.

    Args:
        steps: turns of the loop, on each thread.
        isa: as for ``matmul``.

    Returns:
        Multiplications made, all threads together; 0 where nothing is compiled.
    """
    chosen, threads = choose(isa), get_threads()
    steps = checked_integer("steps", steps, 0, 2**62)
    if chosen is Isa.NUMPY:
        return 0
    tile = TILES[chosen]
    _multiply_task(chosen).run_all(threads, steps, np.empty((threads, 64), np.int32))
    return threads * steps * accumulators(tile) * tile.lanes * tile.group


@emitted
def read_lines(b: Builder, tile: Tile, source: Value, lines: Value, out: Value) -> None:
    """Read ``lines`` times 512 bytes from ``source`` on, and keep their sum."""
    kind = vector(I32, tile.lanes)
    width = 4 * tile.lanes

    def line(index: Value, sums: list[Value]) -> list[Value]:
        place = b.add(source, b.mul(index, i64(LINE_BYTES)))
        for part in range(0, LINE_BYTES, width):
            which = part // width % len(sums)
            sums[which] = b.add(sums[which], load(b, kind, offset(b, place, part)))
        return sums

    store(b, reduce(b.add, counted_loop(b, lines, [zeros(kind)] * 8, line)), out)


def read(words: NDArray[np.int64], isa: KernelPath | None = None) -> None:
    """Read ``words`` (C-contiguous, one axis, a multiple of 512 bytes), each thread a part."""
    chosen, threads = choose(isa), get_threads()
    checked_array("words", words, (np.dtype(np.int64),))
    if words.ndim != 1 or not words.flags.c_contiguous or words.nbytes % LINE_BYTES:
        raise ValueError(
            f"words has shape {words.shape}; allowed is one axis, C-contiguous, a multiple of "
            f"{LINE_BYTES} bytes"
        )
    if chosen is Isa.NUMPY:
        words.sum()
    else:
        found = np.empty((threads, 64), np.int32)
        _read_task(chosen).run_all(threads, words, found, threads)


@cache
def _multiply_task(isa: KernelPath) -> Task:
    number, out = types.int64, types.Array(types.int32, 2, "A")
    return Task(njit(_repeat(ISAS.index(isa))), (number, out, number))


def _repeat(isa: int) -> Callable[..., None]:
    def numq_repeat_dot(steps, out, task):
        repeat_dot(isa, steps, address(out) + task * out.strides[0])

    return numq_repeat_dot


def _read(isa: int) -> Callable[..., None]:
    def numq_read(words, found, tasks, task):
        lines = len(words) * 8 // LINE_BYTES
        first, last = lines * task // tasks, lines * (task + 1) // tasks
        start = address(words) + first * LINE_BYTES
        read_lines(isa, start, last - first, address(found) + task * found.strides[0])

    return numq_read


@cache
def _read_task(isa: KernelPath) -> Task:
    number = types.int64
    arrays = types.Array(number, 1, "C", readonly=True), types.Array(types.int32, 2, "A")
    return Task(njit(_read(ISAS.index(isa))), (*arrays, number, number))
