"""Packed A: its rows, one distance apart, every element in the type the instruction takes.

``vpdpbusd`` wants uint8, so int8 is stored as value + 128; the other kernels take int16, which
holds both. ``sign`` is 0x80 for int8 and 0 for uint8. Missing k's are zeros, up to a whole vector.
"""

from __future__ import annotations

from llvmlite import ir

from numq.kernels.machine.ir import (
    I8,
    I16,
    I32,
    Builder,
    Value,
    call,
    counted_loop,
    i64,
    load,
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
    transpose,
)
from numq.kernels.machine.tile import Tile, emitted
from numq.kernels.product.microkernel import dot


def _element(b: Builder, tile: Tile, raw: Value, sign: Value) -> Value:
    """Bytes of A as packed: ``x ^ 0x80`` is ``x + 128``; ``(x ^ 0x80) - 0x80`` extends a sign."""
    count = raw.type.count
    if tile.item == 1:
        return b.xor(raw, splat(b, b.trunc(sign, I8), count))
    signs = splat(b, b.trunc(sign, I16), count)
    return b.sub(b.xor(b.zext(raw, vector(I16, count)), signs), signs)


def _nothing(b: Builder, tile: Tile, sign: Value, count: int) -> Value:
    """The bytes that ``_element`` turns into zeros."""
    return splat(b, b.trunc(sign, I8) if tile.item == 1 else ir.Constant(I8, 0), count)


@emitted
def pack_a_rows(
    b: Builder, tile: Tile, source: Value, stride: Value, rows: Value, depth: Value, packed: Value,
    packed_row: Value, sign: Value,
) -> None:  # fmt: skip
    """Pack A of unit column stride: a copy.

    Args:
        b: where the code goes.
        tile: the layout.
        source: address of ``(rows, depth)`` bytes.
        stride: bytes between rows.
        rows: rows.
        depth: k's.
        packed: address of the first packed row.
        packed_row: bytes between packed rows.
        sign: 0x80 for int8, 0 for uint8.
    """
    width = tile.lanes * tile.group
    nothing = _nothing(b, tile, sign, width)

    def block(row: Value, piece: Value, _: Count, valid: Count) -> None:
        place = b.add(b.add(source, b.mul(row, stride)), b.mul(piece, i64(width)))
        target = b.add(b.add(packed, b.mul(row, packed_row)), b.mul(piece, i64(tile.lanes * 4)))
        store(b, _element(b, tile, load_bytes(b, tile, width, place, valid, nothing), sign), target)

    for_blocks(b, rows, 1, depth, width, block)


@emitted
def pack_a_columns(
    b: Builder, tile: Tile, source: Value, stride: Value, rows: Value, depth: Value, packed: Value,
    packed_row: Value, sign: Value,
) -> None:  # fmt: skip
    """Pack A of unit row stride: transpose ``lanes`` rows x ``lanes`` groups at a time.

    Args:
        b: where the code goes.
        tile: the layout.
        source: address of ``(rows, depth)`` bytes, contiguous along the rows.
        stride: bytes between k's.
        rows: rows; up to the next multiple of ``lanes`` is written.
        depth: see ``pack_a_rows``, as for all that follow.
        packed: address of the first packed row.
        packed_row: bytes between packed rows.
        sign: 0x80 for int8, 0 for uint8.
    """
    lanes, width = tile.lanes, tile.lanes * tile.group
    nothing = _nothing(b, tile, sign, lanes)

    def block(strip: Value, piece: Value, valid_rows: Count, valid_k: Count) -> None:
        origin = b.add(
            b.add(source, b.mul(strip, i64(lanes))), b.mul(stride, b.mul(piece, i64(width)))
        )

        groups = []
        for k in range(0, width, tile.group):
            ks = range(k, k + tile.group)
            lines = load_rows(b, tile, lanes, origin, stride, ks, valid_k, valid_rows, nothing)
            groups.append(interleave(b, [*lines]))
        words = [b.bitcast(_element(b, tile, group, sign), vector(I32, lanes)) for group in groups]
        target = b.add(packed, b.mul(packed_row, b.mul(strip, i64(lanes))))
        target = b.add(target, b.mul(piece, i64(lanes * 4)))
        for row, part in enumerate(transpose(b, words)):
            store(b, part, b.add(target, b.mul(packed_row, i64(row))))

    for_blocks(b, rows, lanes, depth, width, block)


@emitted
def sum_rows(
    b: Builder, tile: Tile, packed: Value, packed_row: Value, rows: Value, depth: Value, sums: Value
) -> None:
    """int32 row sums of packed A."""
    width = tile.lanes * tile.group
    ones = ir.Constant(vector(I8, width), [1] * width)

    def row(index: Value) -> None:
        source = b.add(packed, b.mul(index, packed_row))

        def piece(number: Value, totals: list[Value]) -> list[Value]:
            words = load(
                b, vector(I32, tile.lanes), b.add(source, b.mul(number, i64(tile.lanes * 4)))
            )
            return [dot(b, tile, totals[0], words, ones)]

        total = counted_loop(
            b, blocks_in(b, depth, width), [zeros(vector(I32, tile.lanes))], piece
        )[0]
        store(
            b,
            call(b, f"llvm.vector.reduce.add.v{tile.lanes}i32", I32, total),
            b.add(sums, b.mul(index, i64(4))),
        )

    for_each(b, rows, row)


@emitted
def fill_ones(b: Builder, tile: Tile, packed: Value, depth: Value) -> None:
    """A packed row of ones, rounded up to a whole vector."""
    ones = ir.Constant(vector(I32, tile.lanes), [tile.ones] * tile.lanes)
    for_each(
        b,
        blocks_in(b, depth, tile.lanes * tile.group),
        lambda i: store(b, ones, b.add(packed, b.mul(i, i64(tile.lanes * 4)))),
    )
