"""Packed B: panels of columns, in the order in which the register tile reads them.

One *panel* of two vectors of columns after the other, in it one *step* (``group`` k's) after the
other, in it the k's of a column side by side::

    step 0:  b[0..3, 0]  b[0..3, 1]  ...  b[0..3, 31]      group = 4, 32 columns: 128 bytes
    step 1:  b[4..7, 0]  b[4..7, 1]  ...  b[4..7, 31]

Always int8: a uint8 B is stored as value - 128, which is what flipping its top bit means. Missing
k's are zeros; missing columns hold anything, since they are never stored.
"""

from __future__ import annotations

from llvmlite import ir

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
)
from numq.kernels.machine.shuffles import (
    Count,
    blocks_in,
    for_blocks,
    for_each,
    interleave,
    load_rows,
    transpose,
)
from numq.kernels.machine.tile import Tile, emitted
from numq.kernels.product.microkernel import dot


@emitted
def pack_b_rows(
    b: Builder, tile: Tile, source: Value, stride: Value, depth: Value, columns: Value, packed:
    Value, panel_bytes: Value, flip: Value,
) -> None:  # fmt: skip
    """Pack B of unit column stride: interleave ``group`` rows at a time, reading in order.

    Args:
        b: where the code goes.
        tile: the layout.
        source: address of ``(depth, columns)`` bytes.
        stride: bytes between rows.
        depth: k's.
        columns: columns.
        packed: address of the first panel.
        panel_bytes: distance between panels.
        flip: 0x80 for uint8, else 0.
    """
    width, group = tile.columns, tile.group
    flips = splat(b, b.trunc(flip, I8), width)

    def block(step: Value, panel: Value, valid_k: Count, valid_columns: Count) -> None:
        place = b.add(
            b.add(source, b.mul(panel, i64(width))), b.mul(stride, b.mul(step, i64(group)))
        )
        given = (place, stride, range(group), valid_k, valid_columns, flips)
        rows = [b.xor(line, flips) for line in load_rows(b, tile, width, *given)]
        target = b.add(b.add(packed, b.mul(panel, panel_bytes)), b.mul(step, i64(width * group)))
        store(b, interleave(b, rows), target)

    for_blocks(b, depth, group, columns, width, block)


@emitted
def pack_b_columns(
    b: Builder, tile: Tile, source: Value, stride: Value, depth: Value, columns: Value, packed:
    Value, panel_bytes: Value, flip: Value,
) -> None:  # fmt: skip
    """Pack B of unit row stride: transpose ``lanes`` columns x ``lanes`` groups at a time.

    Args:
        b: where the code goes.
        tile: the layout.
        source: address of ``(depth, columns)`` bytes, contiguous along k.
        stride: bytes between columns; the others are those of ``pack_b_rows``.
        depth: k's.
        columns: columns.
        packed: address of the first panel.
        panel_bytes: distance between panels.
        flip: 0x80 for uint8, else 0.
    """
    lanes, width = tile.lanes, tile.lanes * tile.group
    flips, group = splat(b, b.trunc(flip, I8), width), ir.IntType(8 * tile.group)

    def block(strip: Value, piece: Value, valid_columns: Count, valid_k: Count) -> None:
        place = b.add(
            b.add(source, b.mul(stride, b.mul(strip, i64(lanes)))), b.mul(piece, i64(width))
        )
        given = (place, stride, range(lanes), valid_columns, valid_k, flips)
        lines = load_rows(b, tile, width, *given)
        rows = [b.bitcast(b.xor(line, flips), vector(group, lanes)) for line in lines]
        half = b.mul(b.and_(strip, i64(1)), i64(width))  # two strips to a panel
        target = b.add(b.add(packed, b.mul(b.ashr(strip, i64(1)), panel_bytes)), half)
        target = b.add(target, b.mul(piece, i64(lanes * 2 * width)))
        store_steps(transpose(b, rows), target, valid_k)

    def store_steps(steps: list[Value], target: Value, valid_k: Count) -> None:
        for number, part in enumerate(steps):
            place = offset(b, target, number * 2 * width)
            if valid_k is None:
                store(b, part, place)
            else:
                with b.if_then(b.icmp_signed("<", i64(number * tile.group), valid_k)):
                    store(b, part, place)

    for_blocks(b, columns, lanes, depth, width, block)


@emitted
def sum_columns(
    b: Builder, tile: Tile, packed: Value, panel_bytes: Value, steps: Value, columns: Value, sums:
    Value,
) -> None:  # fmt: skip
    """int32 column sums of packed B, whole panels of them."""
    width = tile.lanes * tile.group
    ones = ir.Constant(vector(I32, tile.lanes), [tile.ones] * tile.lanes)

    def panel(index: Value) -> None:
        source = b.add(packed, b.mul(index, panel_bytes))
        where = b.add(sums, b.mul(index, i64(tile.columns * 4)))

        def step(number: Value, totals: list[Value]) -> list[Value]:
            place = b.add(source, b.mul(number, i64(2 * width)))
            halves = [load(b, vector(I8, width), offset(b, place, v * width)) for v in range(2)]
            return [
                dot(b, tile, total, ones, half) for total, half in zip(totals, halves, strict=True)
            ]

        nothing = ir.Constant(vector(I32, tile.lanes), None)
        for v, total in enumerate(counted_loop(b, steps, [nothing, nothing], step)):
            store(b, total, offset(b, where, v * tile.lanes * 4))

    for_each(b, blocks_in(b, columns, tile.columns), panel)
