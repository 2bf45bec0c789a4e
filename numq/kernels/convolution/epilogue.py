"""The ways out of int32 where a row of sums is one output channel.

The operations of `epilogue` in the same order; the term, the multiplier and the bias belong to the
row, and the term is added here, modulo 2**32.
"""

from __future__ import annotations

from numq.kernels.machine.ir import F32, I8, I32, Builder, Value, call, i64, load, splat, vector
from numq.kernels.machine.shuffles import Count, for_blocks
from numq.kernels.machine.tile import Tile, emitted
from numq.kernels.product.epilogue import load_lanes, store_lanes


def _of_row(b: Builder, tile: Tile, kind: Value, origin: Value, row: Value) -> Value:
    """Element ``row`` of an array of 4-byte elements, in every lane."""
    return splat(b, load(b, kind, b.add(origin, b.mul(row, i64(4)))), tile.lanes)


def _sums(
    b: Builder,
    tile: Tile,
    sums: Value,
    sums_row: Value,
    terms: Value,
    row: Value,
    piece: Value,
    valid: Count,
) -> Value:
    """One vector of sums, the row's term added."""
    place = b.add(b.add(sums, b.mul(row, sums_row)), b.mul(piece, i64(4 * tile.lanes)))
    raw = load_lanes(b, vector(I32, tile.lanes), place, valid)
    return b.add(raw, _of_row(b, tile, I32, terms, row))


@emitted
def add_terms_to_rows(
    b: Builder,
    tile: Tile,
    sums: Value,
    sums_row: Value,
    rows: Value,
    columns: Value,
    terms: Value,
    out: Value,
    out_row: Value,
) -> None:
    """``out = sums + terms[:, None]``, int32.

    Args:
        b: where the code goes.
        tile: for the width of its vectors.
        sums: address of int32.
        sums_row: bytes between rows of it.
        rows: rows.
        columns: columns.
        terms: address of int32, one per row.
        out: address of the result.
        out_row: bytes between rows of it.
    """

    def block(row: Value, piece: Value, _: Count, valid: Count) -> None:
        total = _sums(b, tile, sums, sums_row, terms, row, piece, valid)
        place = b.add(b.add(out, b.mul(row, out_row)), b.mul(piece, i64(4 * tile.lanes)))
        store_lanes(b, total, place, valid)

    for_blocks(b, rows, 1, columns, tile.lanes, block)


@emitted
def requantize_rows(
    b: Builder,
    tile: Tile,
    sums: Value,
    sums_row: Value,
    rows: Value,
    columns: Value,
    terms: Value,
    multiplier: Value,
    zero_point: Value,
    qmin: Value,
    qmax: Value,
    out: Value,
    out_row: Value,
) -> None:
    """``clamp(rint(float32(sums + term) * multiplier), qmin - zero, qmax - zero) + zero``.

    Args:
        b: where the code goes.
        tile: for the width of its vectors.
        sums: as for ``add_terms_to_rows``, as are ``sums_row``, ``rows``, ``columns``, ``terms``.
        sums_row: see ``sums``.
        rows: see ``sums``.
        columns: see ``sums``.
        terms: see ``sums``.
        multiplier: address of float32, one per row.
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
        exact = _sums(b, tile, sums, sums_row, terms, row, piece, valid)
        factor = _of_row(b, tile, F32, multiplier, row)
        scaled = call(b, f"llvm.rint.v{lanes}f32", floats, b.fmul(b.sitofp(exact, floats), factor))
        scaled = b.select(b.fcmp_ordered(">", scaled, low), scaled, low)
        scaled = b.select(b.fcmp_ordered("<", scaled, high), scaled, high)
        codes = b.trunc(b.add(b.fptosi(scaled, words), zero), vector(I8, lanes))
        place = b.add(b.add(out, b.mul(row, out_row)), b.mul(piece, i64(lanes)))
        store_lanes(b, codes, place, valid)

    for_blocks(b, rows, 1, columns, lanes, block)


@emitted
def dequantize_rows(
    b: Builder,
    tile: Tile,
    sums: Value,
    sums_row: Value,
    rows: Value,
    columns: Value,
    terms: Value,
    scale: Value,
    bias: Value,
    out: Value,
    out_row: Value,
) -> None:
    """``float32(sums + term) * scale + bias``.

    Args:
        b: where the code goes.
        tile: for the width of its vectors.
        sums: as for ``add_terms_to_rows``, as are ``sums_row``, ``rows``, ``columns``, ``terms``.
        sums_row: see ``sums``.
        rows: see ``sums``.
        columns: see ``sums``.
        terms: see ``sums``.
        scale: address of float32, one per row.
        bias: address of float32, one per row; 0 for none.
        out: address of float32.
        out_row: bytes between rows of it.
    """
    floats = vector(F32, tile.lanes)
    biased = b.icmp_signed("!=", bias, i64(0))
    addend = b.select(biased, bias, scale)  # something readable, that is then not used

    def block(row: Value, piece: Value, _: Count, valid: Count) -> None:
        exact = b.sitofp(_sums(b, tile, sums, sums_row, terms, row, piece, valid), floats)
        scaled = b.fmul(exact, _of_row(b, tile, F32, scale, row))
        total = b.fadd(scaled, _of_row(b, tile, F32, addend, row))
        place = b.add(b.add(out, b.mul(row, out_row)), b.mul(piece, i64(4 * tile.lanes)))
        store_lanes(b, b.select(biased, total, scaled), place, valid)

    for_blocks(b, rows, 1, columns, tile.lanes, block)
