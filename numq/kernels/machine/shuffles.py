"""Moving numbers between memory and registers: what packing is made of, and every edge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from llvmlite import ir

from numq.kernels.machine.cpu import Isa
from numq.kernels.machine.ir import (
    F32,
    F64,
    I1,
    I8,
    I32,
    Builder,
    Value,
    below,
    call,
    counted_loop,
    i64,
    load,
    shuffle,
    store,
    vector,
    zeros,
)
from numq.kernels.machine.tile import Tile

Count = Value | None  #: how much of a block exists; None: all of it


def interleave(b: Builder, rows: list[Value]) -> Value:
    """``[r0[0], r1[0], ..., r0[1], r1[1], ...]`` of two or four vectors."""
    if len(rows) == 4:
        return _zip(b, _zip(b, rows[0], rows[1], run=1), _zip(b, rows[2], rows[3], run=1), run=2)
    return _zip(b, rows[0], rows[1], run=1)


def _zip(b: Builder, left: Value, right: Value, run: int) -> Value:
    """Alternate runs of ``run`` lanes of two vectors."""
    count = left.type.count
    picks = [
        base + i
        for start in range(0, count, run)
        for base in (start, count + start)
        for i in range(run)
    ]
    return shuffle(b, left, right, picks)


def transpose(b: Builder, rows: list[Value]) -> list[Value]:
    """Transpose n vectors of n lanes in log2(n) rounds of two-vector shuffles.

    A round swaps the off-diagonal quarters of every square of ``2 * half`` lanes: first the largest
    square, last 2 x 2.
    """
    count = len(rows)
    rows = list(rows)
    half = count // 2
    while half:
        lanes = range(count)
        left_quarters = [count + lane - half if lane & half else lane for lane in lanes]
        right_quarters = [count + lane if lane & half else lane + half for lane in lanes]
        for i in (row for row in lanes if not row & half):
            top, bottom = rows[i], rows[i + half]
            rows[i] = shuffle(b, top, bottom, left_quarters)
            rows[i + half] = shuffle(b, top, bottom, right_quarters)
        half //= 2
    return rows


def load_bytes(
    b: Builder, tile: Tile, count: int, address: Value, valid: Count, other: Value
) -> Value:
    """``count`` bytes; beyond the first ``valid`` nothing is read and ``other`` stands in."""
    kind = vector(I8, count)
    if valid is None:
        return load(b, kind, address)
    if tile.isa is Isa.AVX512_VNNI:  # the only one with masked loads of bytes
        place, align = b.inttoptr(address, kind.as_pointer()), ir.Constant(I32, 1)
        return call(
            b, f"llvm.masked.load.v{count}i8.p0", kind, place, align, below(b, count, valid), other
        )
    with b.goto_entry_block():
        buffer = b.alloca(kind)
    b.store(other, buffer, align=1)
    origin, size = b.inttoptr(address, I8.as_pointer()), _clamp(b, valid, count)
    call(
        b,
        "llvm.memcpy.p0.p0.i64",
        ir.VoidType(),
        b.bitcast(buffer, I8.as_pointer()),
        origin,
        size,
        ir.Constant(I1, 0),
    )
    return b.load(buffer, align=1)


def load_rows(
    b: Builder, tile: Tile, count: int, origin: Value, stride: Value, rows: Iterable[int],
    valid_rows: Count, valid: Count, other: Value,
) -> Iterator[Value]:  # fmt: skip
    """``count`` bytes of each of ``rows``, ``stride`` apart; see ``load_bytes`` for the rest."""
    for row in rows:
        some = None
        if valid_rows is not None:
            some = b.select(b.icmp_signed("<", i64(row), valid_rows), valid, i64(0))
        yield load_bytes(b, tile, count, b.add(origin, b.mul(stride, i64(row))), some, other)


def _clamp(b: Builder, value: Value, high: int) -> Value:
    """``min(max(value, 0), high)``."""
    positive = b.select(b.icmp_signed(">", value, i64(0)), value, i64(0))
    return b.select(b.icmp_signed("<", positive, i64(high)), positive, i64(high))


def for_blocks(
    b: Builder,
    rows: Value,
    height: int,
    columns: Value,
    width: int,
    body: Callable[[Value, Value, Count, Count], None],
) -> None:
    """``body(i, j, valid_rows, valid_columns)`` for each ``height x width`` block of a matrix.

    The body is written out twice: for whole blocks, with counts of None, and for those at the edge.
    """

    def block(i: Value, j: Value) -> None:
        rows_left, columns_left = (
            b.sub(rows, b.mul(i, i64(height))),
            b.sub(columns, b.mul(j, i64(width))),
        )
        fits = b.and_(
            b.icmp_signed(">=", rows_left, i64(height)),
            b.icmp_signed(">=", columns_left, i64(width)),
        )
        with b.if_else(fits) as (whole, edge):
            with whole:
                body(i, j, None, None)
            with edge:
                body(i, j, rows_left, columns_left)

    for_each(
        b,
        blocks_in(b, rows, height),
        lambda i: for_each(b, blocks_in(b, columns, width), lambda j: block(i, j)),
    )


def blocks_in(b: Builder, count: Value, size: int) -> Value:
    """How many blocks of ``size`` cover ``count``."""
    return b.sdiv(b.add(count, i64(size - 1)), i64(size))


def for_each(b: Builder, count: Value, body: Callable[[Value], None]) -> None:
    """``for i in range(count): body(i)``."""

    def turn(index: Value, _: list[Value]) -> list[Value]:
        body(index)
        return []

    counted_loop(b, count, [], turn)


def load_lanes(b: Builder, kind: Value, address: Value, valid: Count) -> Value:
    """A vector of which only the first ``valid`` lanes are read; the others are zero."""
    if valid is None:
        return load(b, kind, address)
    name = f"llvm.masked.load.v{kind.count}{_suffix(kind)}.p0"
    place = b.inttoptr(address, kind.as_pointer())
    return call(b, name, kind, place, ir.Constant(I32, 1), below(b, kind.count, valid), zeros(kind))


def store_lanes(b: Builder, value: Value, address: Value, valid: Count) -> None:
    """Store the first ``valid`` lanes of a vector."""
    if valid is None:
        store(b, value, address)
        return
    kind = value.type
    name = f"llvm.masked.store.v{kind.count}{_suffix(kind)}.p0"
    place = b.inttoptr(address, kind.as_pointer())
    call(b, name, ir.VoidType(), value, place, ir.Constant(I32, 1), below(b, kind.count, valid))


def _suffix(kind: Value) -> str:
    """How LLVM spells the lanes in a function's name."""
    return {F32: "f32", F64: "f64"}.get(kind.element) or f"i{kind.element.width}"
