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
from numq.kernels.machine.jit import address, inlined, made_once, njit
from numq.kernels.machine.parallel import Task
from numq.kernels.machine.tile import ISAS, TILES, columns_of, group_of
from numq.kernels.product.loops import direct, pack_b, product, product_room
from numq.kernels.product.pack_b import sum_columns
from numq.kernels.product.walk import walk_matrix
from numq.kernels.product.zeros import SPARE_TERMS

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
    def packed(self) -> Task:
        """``(*PACKED)``: a packed B, any way out."""
        return self._task(_packed, *PACKED)


#: a, a_sign, panels, terms, factors, sums, rows of a block, room, down, across, the way out's
#: record, row scales, zero points of rows, the bytes of the result
PACKED = (
    BYTES, INT, BYTES, WORDS, WORDS, WORDS, INT, ROOM, INT, INT, row(types.int8), row(FLOAT), WORDS,
    matrix(types.int8),
)  # fmt: skip


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


def _packed(isa: int) -> Callable[..., None]:
    def numq_packed(
        a, a_sign, panels, terms, factors, sums, block, room, down, across, record, row_scale,
        row_zeros, out, task,
    ):  # fmt: skip
        area = block_of(isa, (a.shape[0], terms.size - SPARE_TERMS), down, across, task)
        factor = address(factors) if factors.size else 0
        weight = (address(panels), panels.strides[0], address(terms), factor)
        scales = address(row_scale) if row_scale.size else 0
        rows = (scales, address(row_zeros) if row_zeros.size else 0, address(sums))
        source = (address(a), a.strides, a_sign)
        walk_matrix(
            isa, source, area, a.shape[1], block, weight, rows, record, 0, address(out),
            out.strides[0], room[task],
        )  # fmt: skip

    return numq_packed
