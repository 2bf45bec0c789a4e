"""The loops of a product whose B is packed: how blocks of A pass by it, and how their sums leave.

::

    for each block of rows             pack A, all of its k            -> in the second-level cache
      for each strip of columns        STRIP wide
        for each block of k            the register tile               `multiply_deep`
        the way out                    of sums that are in the first-level cache

What is packed is an argument: the rows of a matrix here, the pixels of an image in a convolution.
All functions are compiled; addresses are int64.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from typing import Any

import numpy as np

from numq.kernels.machine.jit import address, inlined
from numq.kernels.machine.tile import BLOCK_K, Tile, columns_of, group_of, row_bytes_of
from numq.kernels.product.epilogue import add_outer, leave_columns
from numq.kernels.product.loops import SPARE, multiply_block, pack_a, words
from numq.kernels.product.pack_a import sum_rows
from numq.kernels.product.rules import RECORD_HEAD, Field, Mode

STRIP = 64  #: columns of sums between two ways out
A_BYTES = 1 << 18  #: of packed A at most, where k allows: a quarter of a usual second-level cache
MOST_ROWS = 96
HEAD = STRIP + SPARE + 2 * (MOST_ROWS + SPARE)  #: int32: zeros, row sums, and those of one block
PACKED = 4 * (HEAD + MOST_ROWS * STRIP)  #: where packed A begins in a task's room, in bytes
# Plain numbers: Numba 0.61 takes no other index.
MODE, ITEM, INTEGERS = int(Field.MODE), int(Field.ITEM), int(Mode.INTEGERS)


def rows_of_block(tile: Tile, k: int) -> int:
    """Rows of A packed at a time."""
    fitting = A_BYTES // (tile.row_bytes * max(1, -(-k // BLOCK_K)))
    return max(tile.rows, min(MOST_ROWS, fitting // tile.rows * tile.rows))


def walk_room(tile: Tile, k: int) -> int:
    """Bytes that one task works in."""
    return PACKED + (rows_of_block(tile, k) + SPARE) * tile.row_bytes * max(1, -(-k // BLOCK_K))


@inlined
def multiply_deep(isa, m, n, steps, a, chunk, panels, panel_bytes, c, c_row, zeros, terms):
    """``c = terms + a @ b`` over all blocks of k; packed A has ``chunk`` bytes for each.

    Args:
        isa: which tile.
        m: rows.
        n: columns.
        steps: groups of k; without any, the terms alone are the sums.
        a: address of packed A.
        chunk: see ``a``.
        panels: address of packed B.
        panel_bytes: between panels.
        c: address of int32.
        c_row: bytes between rows of it.
        zeros: address of as many int32 as there are columns, and ``SPARE``.
        terms: address of int32, one per column, and ``SPARE``.
    """
    most = BLOCK_K // group_of(isa)
    for p in range(0, max(steps, 1), most):
        multiply_block(
            isa, m, n, min(most, steps - p), a + p // most * chunk,
            panels + p * group_of(isa) * columns_of(isa), panel_bytes, c, c_row,
            c if p else zeros, c_row if p else 0, zeros if p else terms,
        )  # fmt: skip


@inlined
def sum_block(isa, packed, chunk, k, mc, totals):
    """Sums of ``mc`` rows of packed A, over all blocks of k."""
    for r in range(mc):
        totals[r] = 0
    part = totals[MOST_ROWS + SPARE :]
    for p in range(0, k, BLOCK_K):
        source = packed + p // BLOCK_K * chunk
        sum_rows(isa, source, row_bytes_of(isa), mc, min(BLOCK_K, k - p), address(part))
        for r in range(mc):
            totals[r] += part[r]


def walk_of(pack: Any) -> Any:
    """The walk for one way of packing A: ``pack(isa, source, i, mc, k, packed, chunk)``.

    It packs ``mc`` rows from the ``i``-th on at the address ``packed``, a chunk for each block of
    k, and fills the last vector of each row up with zeros.
    """

    @inlined
    def walk(isa, source, area, k, block, weight, rows, record, first, out, out_row, room):
        """Walk.

        Args:
            isa: which tile.
            source: of A, for ``pack``.
            area: top, bottom, left and right of a block of the result.
            k: depth.
            block: rows of A packed at a time.
            weight: address of the panels, bytes between them, addresses of the columns' terms and
                of their factors of the row sums, 0 for none.
            rows: addresses of the rows' scales and zero points, 0 for none, and of the columns'
                factors of those zero points.
            record: that of the way out, an array.
            first: channel of column 0.
            out: address of the result's row 0, column 0.
            out_row: bytes between rows of it.
            room: ``walk_room`` bytes.
        """
        top, bottom, left, right = area
        panels, panel_bytes, terms, factors = weight
        row_scales, row_zeros, row_factors = rows
        head = record[:RECORD_HEAD].view(np.int64)
        direct, item = head[MODE] == INTEGERS, head[ITEM]
        numbers, steps = words(room, HEAD), (k + group_of(isa) - 1) // group_of(isa)
        numbers[: STRIP + SPARE] = 0
        zeros, totals, packed = address(numbers), numbers[STRIP + SPARE :], address(room) + PACKED
        chunk = (block + SPARE) * row_bytes_of(isa)
        for i in range(top, bottom, block):
            mc = min(block, bottom - i)
            pack(isa, source, i, mc, k, packed, chunk)
            if factors:
                sum_block(isa, packed, chunk, k, mc, totals)
            for j in range(left, right, STRIP):
                nc, goal = min(STRIP, right - j), out + i * out_row + j * item
                c, c_row = (goal, out_row) if direct else (address(room) + 4 * HEAD, 4 * STRIP)
                panel = panels + j // columns_of(isa) * panel_bytes
                multiply_deep(
                    isa, mc, nc, steps, packed, chunk, panel, panel_bytes, c, c_row, zeros,
                    terms + 4 * j,
                )  # fmt: skip
                if factors:
                    add_outer(isa, c, c_row, mc, nc, address(totals), factors + 4 * j)
                if row_zeros:
                    add_outer(isa, c, c_row, mc, nc, row_zeros + 4 * i, row_factors + 4 * j)
                if not direct:
                    scales = row_scales + 4 * i if row_scales else 0
                    leave_columns(
                        isa, address(record), first + j, c, c_row, mc, nc, scales, goal, out_row
                    )

    return walk


@inlined
def pack_matrix(isa, source, i, mc, k, packed, chunk):
    """Pack rows of a matrix; ``source`` is its address, its strides and its sign."""
    start, strides, sign = source
    for p in range(0, k, BLOCK_K):
        pack_a(
            isa, start + i * strides[0] + p * strides[1], strides, sign, mc, min(BLOCK_K, k - p),
            packed + p // BLOCK_K * chunk, row_bytes_of(isa),
        )  # fmt: skip


walk_matrix = walk_of(pack_matrix)
