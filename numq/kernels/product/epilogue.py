"""The ways out of the int32 accumulator, applied to a block of sums while it is still in the cache.

`reference` defines them; these are the same operations in the same order, a vector at a time.
Nothing here may be contracted into a fused multiply-add, which would round once where the
definition rounds twice: LLVM does so only if asked to.
"""

from __future__ import annotations

from llvmlite import ir

from numq.kernels.machine.ir import (
    F32,
    I8,
    I32,
    Builder,
    Value,
    below,
    call,
    i64,
    load,
    splat,
    store,
    vector,
    zeros,
)
from numq.kernels.machine.shuffles import Count, for_blocks
from numq.kernels.machine.tile import Tile, emitted


@emitted
def requantize_block(
    b: Builder,
    tile: Tile,
    sums: Value,
    sums_row: Value,
    rows: Value,
    columns: Value,
    multiplier: Value,
    zero_point: Value,
    qmin: Value,
    qmax: Value,
    out: Value,
    out_row: Value,
) -> None:
    """``clamp(rint(float32(sums) * multiplier), qmin - zero, qmax - zero) + zero``, as bytes.

    Args:
        b: where the code goes.
        tile: for the width of its vectors.
        sums: address of int32.
        sums_row: bytes between rows of it.
        rows: rows.
        columns: columns.
        multiplier: address of float32, one per column.
        zero_point: of the output.
        qmin: lowest code.
        qmax: highest code.
        out: address of bytes.
        out_row: bytes between rows of it.
    """
    lanes = tile.lanes
    floats, words = vector(F32, lanes), vector(I32, lanes)
    low, high = (splat(b, b.sitofp(b.sub(edge, zero_point), F32), lanes) for edge in (qmin, qmax))
    zero = splat(b, b.trunc(zero_point, I32), lanes)

    def block(row: Value, piece: Value, _: Count, valid: Count) -> None:
        first = b.mul(piece, i64(lanes))
        exact = load_lanes(
            b, words, b.add(b.add(sums, b.mul(row, sums_row)), b.mul(first, i64(4))), valid
        )
        factor = load_lanes(b, floats, b.add(multiplier, b.mul(first, i64(4))), valid)
        scaled = call(b, f"llvm.rint.v{lanes}f32", floats, b.fmul(b.sitofp(exact, floats), factor))
        scaled = b.select(b.fcmp_ordered(">", scaled, low), scaled, low)
        scaled = b.select(b.fcmp_ordered("<", scaled, high), scaled, high)
        codes = b.trunc(b.add(b.fptosi(scaled, words), zero), vector(I8, lanes))
        store_lanes(b, codes, b.add(b.add(out, b.mul(row, out_row)), first), valid)

    for_blocks(b, rows, 1, columns, lanes, block)


@emitted
def dequantize_block(
    b: Builder,
    tile: Tile,
    sums: Value,
    sums_row: Value,
    rows: Value,
    columns: Value,
    row_scale: Value,
    column_scale: Value,
    bias: Value,
    out: Value,
    out_row: Value,
) -> None:
    """``float32(sums) * (row_scale * column_scale) + bias``.

    Args:
        b: where the code goes.
        tile: for the width of its vectors.
        sums: address of int32.
        sums_row: bytes between rows of it.
        rows: rows.
        columns: columns.
        row_scale: address of float32, one per row.
        column_scale: address of float32, one per column.
        bias: address of float32, one per column; 0 for none.
        out: address of float32.
        out_row: bytes between rows of it.
    """
    lanes = tile.lanes
    floats, words = vector(F32, lanes), vector(I32, lanes)
    biased = b.icmp_signed("!=", bias, i64(0))
    addend = b.select(biased, bias, column_scale)  # something readable, that is then not used

    def block(row: Value, piece: Value, _: Count, valid: Count) -> None:
        first = b.mul(piece, i64(4 * lanes))
        exact = load_lanes(b, words, b.add(b.add(sums, b.mul(row, sums_row)), first), valid)
        down = splat(b, load(b, F32, b.add(row_scale, b.mul(row, i64(4)))), lanes)
        across = load_lanes(b, floats, b.add(column_scale, first), valid)
        scaled = b.fmul(b.sitofp(exact, floats), b.fmul(down, across))
        total = b.fadd(scaled, load_lanes(b, floats, b.add(addend, first), valid))
        place = b.add(b.add(out, b.mul(row, out_row)), first)
        store_lanes(b, b.select(biased, total, scaled), place, valid)

    for_blocks(b, rows, 1, columns, lanes, block)


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
    return "f32" if kind.element == F32 else f"i{kind.element.width}"
