"""What is compiled: a function for each instruction set and purpose, when first asked for.

The factories at the end are called once per ``Isa``: its index is then a constant of the compiled
code. What they make does one *task*, one block of a grid of ``down x across`` blocks of the result.
A small product is a grid of one; a large one is handed to `Task.run_all`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import types

from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import inlined, made_once, njit
from numq.kernels.machine.parallel import Task
from numq.kernels.machine.tile import ISAS, TILES, columns_of, group_of
from numq.kernels.product.epilogue import dequantize_block, requantize_block
from numq.kernels.product.loops import address, direct, pack_b, product, product_room
from numq.kernels.product.pack_b import sum_columns
from numq.kernels.product.prepacked import (
    STRIP_N,
    corrections,
    multiply_strip,
    pack_block,
    strip_sums,
)

INT, FLOAT = types.int64, types.float32
BYTES = types.Array(types.int8, 2, "A", readonly=True)  #: any matrix of bytes, whatever its strides
BYTES3 = types.Array(types.int8, 3, "A", readonly=True)
ROOM = types.Array(types.int8, 2, "C")  #: (tasks, bytes) to work in


def matrix(lane: Any, axes: int = 2) -> Any:
    """A result, whatever its strides."""
    return types.Array(lane, axes, "A")


def row(lane: Any) -> Any:
    """One value per row or per column."""
    return types.Array(lane, 1, "C", readonly=True)


WORDS = row(types.int32)


_kits: dict[KernelPath | None, Kernels | None] = {}


def kernels(isa: KernelPath | None) -> Kernels | None:
    """The compiled functions of the kernel that `choose` gives; None stands for NumPy."""
    try:
        return _kits[isa]
    except (KeyError, TypeError):  # not asked for yet, or no kernel at all
        chosen = choose(isa)
        _kits[isa] = None if chosen is Isa.NUMPY else _made(chosen)
        return _kits[isa]


@cache
def _made(isa: KernelPath) -> Kernels:
    """One set for each kernel, whether it was named or chosen."""
    return Kernels(isa)


class Kernels:
    """The functions of one instruction set; reading an attribute compiles it, or loads it."""

    def __init__(self, isa: KernelPath) -> None:
        """Prepare, without compiling anything."""
        self.isa, self.tile = isa, TILES[isa]
        self.direct = self.tile.direct
        self.product_room = product_room(self.tile)

    def _task(self, factory: Callable[[int], Callable[..., None]], *signature: Any) -> Task:
        return Task(njit(factory(ISAS.index(self.isa))), (*signature, INT))

    @made_once
    def product(self) -> Task:
        """``(a, b, c, a_sign, b_sign, room, down, across)``: int32 out."""
        return self._task(_product, BYTES, BYTES, matrix(types.int32), INT, INT, ROOM, INT, INT)

    @made_once
    def few_rows(self) -> Task:
        """``(a, b, c, a_sign, b_sign, room, across)``: the same for a few rows."""
        return self._task(_few_rows, BYTES, BYTES, matrix(types.int32), INT, INT, ROOM, INT)

    @made_once
    def batch(self) -> Task:
        """``(a, b, c, a_sign, b_sign, room, tasks)``: products along the first axis."""
        return self._task(_batch, BYTES3, BYTES3, matrix(types.int32, 3), INT, INT, ROOM, INT)

    @made_once
    def pack(self) -> Task:
        """``(b, b_sign, panels, sums)``: pack a whole B, and sum its columns as stored."""
        return self._task(_pack, BYTES, INT, matrix(types.int8), types.Array(types.int32, 1, "C"))

    @made_once
    def integers(self) -> Task:
        """``(*PREPACKED, out)``: packed B, int32 out."""
        return self._task(_integers, *PREPACKED, matrix(types.int32))

    @made_once
    def requantized(self) -> Task:
        """``(*PREPACKED, out, multiplier, zero_point, qmin, qmax)``: packed B, 8 bits out."""
        return self._task(_requantized, *PREPACKED, matrix(types.int8), row(FLOAT), INT, INT, INT)

    @made_once
    def dequantized(self) -> Task:
        """``(*PREPACKED, out, row_scale, column_scale, addend)``: packed B, float32 out."""
        return self._task(
            _dequantized, *PREPACKED, matrix(FLOAT), row(FLOAT), row(FLOAT), row(FLOAT)
        )


#: a, a_sign, a_zero, panels, b_sums, b_shift, b_zeros, bias, rows of a block, room, down, across
PREPACKED = (BYTES, INT, INT, BYTES, WORDS, INT, WORDS, WORDS, INT, ROOM, INT, INT)


@inlined
def block_of(isa, shape, down, across, task):
    """``(top, bottom, left, right)`` of a task, which splits no panel."""
    (m, n), i, j = shape, task // across, task % across
    panels = (n + columns_of(isa) - 1) // columns_of(isa)
    left, right = panels * j // across, panels * (j + 1) // across
    return (
        m * i // down,
        m * (i + 1) // down,
        left * columns_of(isa),
        min(n, right * columns_of(isa)),
    )


def _product(isa: int) -> Callable[..., None]:
    def numq_product(a, b, c, a_sign, b_sign, room, down, across, task):
        top, bottom, left, right = block_of(isa, c.shape, down, across, task)
        rows, columns, part = a[top:bottom], b[:, left:right], c[top:bottom, left:right]
        product(isa, rows, columns, part, a_sign, b_sign, room[task])

    return numq_product


def _few_rows(isa: int) -> Callable[..., None]:
    def numq_few_rows(a, b, c, a_sign, b_sign, room, across, task):
        _, _, left, right = block_of(isa, c.shape, 1, across, task)
        direct(isa, a, b[:, left:right], c[:, left:right], a_sign, b_sign, room[task])

    return numq_few_rows


def _batch(isa: int) -> Callable[..., None]:
    def numq_batch(a, b, c, a_sign, b_sign, room, tasks, task):
        count = c.shape[0]
        for i in range(count * task // tasks, count * (task + 1) // tasks):
            product(isa, a[i], b[i], c[i], a_sign, b_sign, room[task])

    return numq_batch


def _pack(isa: int) -> Callable[..., None]:
    def numq_pack(b, b_sign, panels, sums, task):
        k, n = b.shape
        steps = (k + group_of(isa) - 1) // group_of(isa)
        pack_b(isa, address(b), b.strides, b_sign, k, n, address(panels), panels.strides[0])
        sum_columns(isa, address(panels), panels.strides[0], steps, n, address(sums))

    return numq_pack


# The three below are the same loops around three ways out.


def _integers(isa: int) -> Callable[..., None]:
    def numq_integers(
        a, a_sign, a_zero, panels, b_sums, b_shift, b_zeros, bias, block, room, down, across, out,
        task,
    ):  # fmt: skip
        top, bottom, left, right = block_of(isa, out.shape, down, across, task)
        row_sums, nothing, terms, factors, space = corrections(
            isa, room[task], left, right, a.shape[1], a_sign, a_zero, b_shift, b_zeros, b_sums, bias
        )
        for i in range(top, bottom, block):
            mc = min(block, bottom - i)
            packed = pack_block(isa, a, a_sign, i, mc, block, space, row_sums, factors.size)
            for j in range(left, right, STRIP_N):
                nc = min(STRIP_N, right - j)
                sums = out[i : i + mc, j : j + nc]
                multiply_strip(
                    isa, a.shape[1], j, left, block, packed, panels, sums, nothing, terms, row_sums,
                    factors,
                )  # fmt: skip

    return numq_integers


def _requantized(isa: int) -> Callable[..., None]:
    def numq_requantized(
        a, a_sign, a_zero, panels, b_sums, b_shift, b_zeros, bias, block, room, down, across, out,
        multiplier, zero_point, qmin, qmax, task,
    ):  # fmt: skip
        top, bottom, left, right = block_of(isa, out.shape, down, across, task)
        row_sums, nothing, terms, factors, space = corrections(
            isa, room[task], left, right, a.shape[1], a_sign, a_zero, b_shift, b_zeros, b_sums, bias
        )
        for i in range(top, bottom, block):
            mc = min(block, bottom - i)
            packed = pack_block(isa, a, a_sign, i, mc, block, space, row_sums, factors.size)
            for j in range(left, right, STRIP_N):
                nc = min(STRIP_N, right - j)
                sums = strip_sums(space, mc, nc)
                multiply_strip(
                    isa, a.shape[1], j, left, block, packed, panels, sums, nothing, terms, row_sums,
                    factors,
                )  # fmt: skip
                requantize_block(
                    isa, address(sums), sums.strides[0], mc, nc, address(multiplier) + j * 4,
                    zero_point, qmin, qmax, address(out) + i * out.strides[0] + j, out.strides[0],
                )  # fmt: skip

    return numq_requantized


def _dequantized(isa: int) -> Callable[..., None]:
    def numq_dequantized(
        a, a_sign, a_zero, panels, b_sums, b_shift, b_zeros, bias, block, room, down, across, out,
        row_scale, column_scale, addend, task,
    ):  # fmt: skip
        top, bottom, left, right = block_of(isa, out.shape, down, across, task)
        row_sums, nothing, terms, factors, space = corrections(
            isa, room[task], left, right, a.shape[1], a_sign, a_zero, b_shift, b_zeros, b_sums, bias
        )
        for i in range(top, bottom, block):
            mc = min(block, bottom - i)
            packed = pack_block(isa, a, a_sign, i, mc, block, space, row_sums, factors.size)
            for j in range(left, right, STRIP_N):
                nc = min(STRIP_N, right - j)
                sums = strip_sums(space, mc, nc)
                multiply_strip(
                    isa, a.shape[1], j, left, block, packed, panels, sums, nothing, terms, row_sums,
                    factors,
                )  # fmt: skip
                dequantize_block(
                    isa, address(sums), sums.strides[0], mc, nc, address(row_scale) + i * 4,
                    address(column_scale) + j * 4, address(addend) + j * 4 if addend.size else 0,
                    address(out) + i * out.strides[0] + j * 4, out.strides[0],
                )  # fmt: skip

    return numq_dequantized
