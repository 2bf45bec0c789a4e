"""A few rows times a whole matrix: B is read where it lies, since each byte is used but once.

Such a product (a matrix times a vector, at its smallest) runs at the speed of memory. ``sums`` is
an int32 matrix that the kernels add to; the caller clears it.
"""

from __future__ import annotations

from collections.abc import Callable

from numq.kernels.machine.ir import (
    I8,
    I32,
    Builder,
    Value,
    call,
    counted_loop,
    i64,
    load,
    offset,
    shuffle,
    splat,
    store,
    vector,
    zeros,
)
from numq.kernels.machine.shuffles import (
    Count,
    blocks_in,
    for_blocks,
    for_each,
    interleave,
    load_bytes,
    load_rows,
)
from numq.kernels.machine.tile import Tile, emitted
from numq.kernels.product.microkernel import dot

STEPS = 2  #: steps of k between two visits of the same sums
COLUMNS = 4  #: columns whose dot products run side by side


@emitted
def add_products_of_rows(
    b: Builder, tile: Tile, rows: Value, depth: Value, columns: Value, a: Value, a_row: Value,
    source: Value, stride: Value, flip: Value, sums: Value, sums_row: Value,
) -> None:  # fmt: skip
    """``sums += a @ B`` for B of unit column stride: whole rows of it, interleaved in registers.

    Args:
        b: where the code goes.
        tile: the instruction.
        rows: 1 to ``tile.direct``.
        depth: k's.
        columns: columns.
        a: address of packed A.
        a_row: bytes between its rows.
        source: address of B.
        stride: bytes between rows of B.
        flip: 0x80 for uint8, else 0.
        sums: address of int32.
        sums_row: bytes between its rows, with room for whole panels.
    """
    width, group = tile.columns, tile.group
    flips, words = splat(b, b.trunc(flip, I8), width), vector(I32, tile.lanes)

    def block(
        height: int, piece: Value, panel: Value, valid_k: Count, valid_columns: Count
    ) -> None:
        first = b.mul(piece, i64(STEPS * group))
        origin = b.add(b.add(source, b.mul(panel, i64(width))), b.mul(stride, first))

        steps, half = [], tile.lanes * group
        for s in range(0, STEPS * group, group):
            given = (origin, stride, range(s, s + group), valid_k, valid_columns, flips)
            lines = load_rows(b, tile, width, *given)
            steps.append(interleave(b, [b.xor(line, flips) for line in lines]))
        for r in range(height):
            target = b.add(b.add(sums, b.mul(sums_row, i64(r))), b.mul(panel, i64(width * 4)))
            left = b.add(b.add(a, b.mul(a_row, i64(r))), b.mul(piece, i64(STEPS * 4)))
            groups = [
                splat(b, load(b, I32, offset(b, left, s * 4)), tile.lanes) for s in range(STEPS)
            ]
            for v in range(2):
                place = offset(b, target, v * tile.lanes * 4)
                total = load(b, words, place)
                for s in range(STEPS):
                    part = shuffle(b, steps[s], steps[s], range(v * half, (v + 1) * half))
                    total = dot(b, tile, total, groups[s], part)
                store(b, total, place)

    def all_blocks(height: int) -> None:
        def body(piece: Value, panel: Value, valid_k: Count, valid_columns: Count) -> None:
            block(height, piece, panel, valid_k, valid_columns)

        for_blocks(b, depth, STEPS * group, columns, width, body)

    _for_height(b, rows, tile.direct, all_blocks)


@emitted
def add_products_of_columns(
    b: Builder, tile: Tile, rows: Value, depth: Value, columns: Value, a: Value, a_row: Value,
    source: Value, stride: Value, flip: Value, sums: Value, sums_row: Value,
) -> None:  # fmt: skip
    """``sums += a @ B`` for B of unit row stride: dot products along k.

    Its arguments are those of ``add_products_of_rows``, with ``rows`` up to ``COLUMNS`` and
    ``stride`` between columns of B.
    """
    width = tile.lanes * tile.group
    flips, words = splat(b, b.trunc(flip, I8), width), vector(I32, tile.lanes)
    pieces = b.sdiv(depth, i64(width))
    rest = b.sub(depth, b.mul(pieces, i64(width)))
    last = b.sub(columns, i64(1))

    def columns_block(height: int, index: Value) -> None:
        numbers = [offset(b, b.mul(index, i64(COLUMNS)), c) for c in range(COLUMNS)]
        within = [b.icmp_signed("<=", number, last) for number in numbers]
        places = [
            b.add(source, b.mul(stride, b.select(ok, n, last)))
            for ok, n in zip(within, numbers, strict=True)
        ]
        cells = [(r, c) for r in range(height) for c in range(COLUMNS)]

        def piece(number: Value, totals: list[Value], valid: Count = None) -> list[Value]:
            at = b.mul(number, i64(width))
            raw = [load_bytes(b, tile, width, b.add(place, at), valid, flips) for place in places]
            right = [b.xor(value, flips) for value in raw]
            starts = [
                b.add(b.add(a, b.mul(a_row, i64(r))), b.mul(number, i64(tile.lanes * 4)))
                for r in range(height)
            ]
            left = [load(b, words, start) for start in starts]
            return [
                dot(b, tile, total, left[r], right[c])
                for (r, c), total in zip(cells, totals, strict=True)
            ]

        totals = piece(pieces, counted_loop(b, pieces, [zeros(words)] * len(cells), piece), rest)
        for (r, c), total in zip(cells, totals, strict=True):
            whole = call(b, f"llvm.vector.reduce.add.v{tile.lanes}i32", I32, total)
            place = b.add(b.add(sums, b.mul(sums_row, i64(r))), b.mul(numbers[c], i64(4)))
            with b.if_then(within[c]):
                store(b, b.add(load(b, I32, place), whole), place)

    def all_columns(height: int) -> None:
        for_each(b, blocks_in(b, columns, COLUMNS), lambda index: columns_block(height, index))

    _for_height(b, rows, COLUMNS, all_columns)


def _for_height(b: Builder, rows: Value, most: int, body: Callable[[int], None]) -> None:
    """``body(rows)``, written out for every number of rows up to ``most``."""
    end = b.append_basic_block("end")
    choice = b.switch(rows, end)
    for height in range(1, most + 1):
        block = b.append_basic_block(f"rows{height}")
        choice.add_case(i64(height), block)
        b.position_at_end(block)
        body(height)
        b.branch(end)
    b.position_at_end(end)
