"""The ways out of the int32 accumulator, applied to a block of sums while it is still in the cache.

A way is named by a number in its record: the code of all of them is compiled once, and a block asks
once for its own. See `rules` for those that end in codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from numq.kernels.machine.ir import (
    F32,
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    i64,
    load,
    offset,
    splat,
    vector,
)
from numq.kernels.machine.shuffles import Count, for_blocks, load_lanes, store_lanes
from numq.kernels.machine.tile import Tile, emitted, function_of
from numq.kernels.product.rules import RULES, Along, Channels, Field, Mode, Rule, Spot, of_row


def _way(along: Along, mode: Mode) -> Callable[..., None]:
    """The code of one way out; its parameters are those of ``leave_columns``."""

    def emit(
        b: Builder, tile: Tile, record: Value, first: Value, sums: Value, sums_row: Value,
        rows: Value, columns: Value, beside: Value, out: Value, out_row: Value,
    ) -> None:  # fmt: skip
        channels = Channels(b, tile, along, record, first)

        def each(result: Result) -> None:
            def block(row: Value, piece: Value, _: Count, valid: Count) -> None:
                place = b.add(sums, b.add(b.mul(row, sums_row), b.mul(piece, i64(4 * tile.lanes))))
                exact = load_lanes(b, vector(I32, tile.lanes), place, valid)
                if along is Along.ROWS:
                    exact = b.add(exact, of_row(b, I32, beside, row, tile.lanes))
                result(exact, Spot(row, piece, valid), b.add(out, b.mul(row, out_row)))

            for_blocks(b, rows, 1, columns, tile.lanes, block)

        match mode:
            case Mode.INTEGERS:
                each(_integers(channels))
            case Mode.DEQUANTIZED:
                each(_dequantized(channels, beside))
            case _:
                narrow = b.icmp_signed("==", channels.number(Field.ITEM), i64(1))
                with b.if_else(narrow) as (bytes_, halves):  # asked once: the loops do not branch
                    with bytes_:
                        each(_requantized(channels, RULES[mode], I8))
                    with halves:
                        each(_requantized(channels, RULES[mode], I16))

    emit.__name__ = f"{mode.name.lower()}_{along.value}"  # the LLVM function is found by this name
    return emit


Result = Callable[[Value, Spot, Value], None]  #: (sums, where, start of the row of results)


def _integers(channels: Channels) -> Result:
    def put(sums: Value, spot: Spot, row: Value) -> None:
        _put(channels.b, sums, spot, row, 4)

    return put


def _dequantized(channels: Channels, down: Value) -> Result:
    """``float32(sums) * (row_scale * scale) + bias``."""
    b, floats = channels.b, vector(F32, channels.lanes)
    scales, biases = channels.start(Field.SCALE, F32), channels.start(Field.BIAS, F32)
    biased = b.icmp_signed("!=", channels.number(Field.BIAS), i64(0))
    addends = b.select(biased, biases, scales)  # something readable, that is then not used
    scaled_rows = b.icmp_signed("!=", down, i64(0))

    def put(sums: Value, spot: Spot, row: Value) -> None:
        factor = channels.at(F32, scales, spot)
        if channels.along is Along.COLUMNS:
            place = b.select(scaled_rows, b.add(down, b.mul(spot.row, i64(4))), scales)
            one = b.select(scaled_rows, load(b, F32, place), ir.Constant(F32, 1.0))
            factor = b.fmul(splat(b, one, channels.lanes), factor)
        scaled = b.fmul(b.sitofp(sums, floats), factor)
        total = b.fadd(scaled, channels.at(F32, addends, spot))
        _put(b, b.select(biased, total, scaled), spot, row, 4)

    return put


def _requantized(channels: Channels, rule: Rule, code: Any) -> Result:
    """``clamp(rule(sums)) + zero_point``, as codes of 8 or 16 bits."""
    b, lanes = channels.b, channels.lanes
    codes = rule(channels)
    zero = splat(b, b.trunc(channels.number(Field.ZERO), I32), lanes)

    def put(sums: Value, spot: Spot, row: Value) -> None:
        result = b.trunc(b.add(codes(sums, spot), zero), vector(code, lanes))
        _put(b, result, spot, row, code.width // 8)

    return put


def _put(b: Builder, value: Value, spot: Spot, row: Value, size: int) -> None:
    first = b.mul(spot.piece, i64(value.type.count * size))
    store_lanes(b, value, b.add(row, first), spot.valid)


_WAYS = {along: {mode: _way(along, mode) for mode in Mode} for along in Along}


def _leave(b: Builder, tile: Tile, along: Along, record: Value, *arguments: Value) -> None:
    """Call the way out that the record names."""
    end = b.append_basic_block("end")
    choice = b.switch(load(b, I64, offset(b, record, 8 * Field.MODE)), end)
    for mode, emit in _WAYS[along].items():
        block = b.append_basic_block(mode.name)
        choice.add_case(i64(mode), block)
        b.position_at_end(block)
        b.call(function_of(b.module, emit, tile), [record, *arguments])
        b.branch(end)
    b.position_at_end(end)


@emitted
def leave_columns(
    b: Builder, tile: Tile, record: Value, first: Value, sums: Value, sums_row: Value,
    rows: Value, columns: Value, row_scale: Value, out: Value, out_row: Value,
) -> None:  # fmt: skip
    """Take a block of sums out, its columns being channels.

    Args:
        b: where the code goes.
        tile: for the width of its vectors.
        record: address of the way out's record.
        first: channel of the first column.
        sums: address of int32.
        sums_row: bytes between rows of it.
        rows: rows.
        columns: columns.
        row_scale: address of float32, one per row, which DEQUANTIZED multiplies the scales by; 0
            for none.
        out: address of the first result.
        out_row: bytes between rows of it.
    """
    given = (first, sums, sums_row, rows, columns, row_scale, out, out_row)
    _leave(b, tile, Along.COLUMNS, record, *given)


@emitted
def leave_rows(
    b: Builder, tile: Tile, record: Value, first: Value, sums: Value, sums_row: Value,
    rows: Value, columns: Value, terms: Value, out: Value, out_row: Value,
) -> None:  # fmt: skip
    """Take a block of sums out, its rows being channels; see ``leave_columns``.

    ``terms`` is the address of int32, one per row of the block, which are added to the sums first.
    """
    given = (first, sums, sums_row, rows, columns, terms, out, out_row)
    _leave(b, tile, Along.ROWS, record, *given)


@emitted
def add_outer(
    b: Builder, tile: Tile, sums: Value, sums_row: Value, rows: Value, columns: Value,
    down: Value, across: Value,
) -> None:  # fmt: skip
    """``sums += down[:, None] * across``, int32: a correction that needs sums of the other operand.

    Args:
        b: where the code goes.
        tile: for the width of its vectors.
        sums: address of int32.
        sums_row: bytes between rows of it.
        rows: rows.
        columns: columns.
        down: address of int32, one per row.
        across: address of int32, one per column.
    """
    words = vector(I32, tile.lanes)

    def block(row: Value, piece: Value, _: Count, valid: Count) -> None:
        first = b.mul(piece, i64(4 * tile.lanes))
        place = b.add(b.add(sums, b.mul(row, sums_row)), first)
        factor = load_lanes(b, words, b.add(across, first), valid)
        product = b.mul(of_row(b, I32, down, row, tile.lanes), factor)
        store_lanes(b, b.add(load_lanes(b, words, place, valid), product), place, valid)

    for_blocks(b, rows, 1, columns, tile.lanes, block)
