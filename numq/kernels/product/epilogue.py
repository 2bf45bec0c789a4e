"""The ways out of the int32 accumulator, applied to a block of sums while it is still in the cache.

`reference` defines them; these are the same operations in the same order, a vector at a time.
Nothing here may be contracted into a fused multiply-add, which would round once where the
definition rounds twice: LLVM does so only if asked to.

What belongs to a channel (its multiplier, its shift, its bias) lies in a *record*, see `ways`, that
names the way by a number: the code of all of them is compiled once, and a block asks once for its
own. Channels are the columns of the sums (a product, an image NHWC) or their rows (NCHW).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Any, NamedTuple

from llvmlite import ir

from numq.kernels.machine.ir import (
    F32,
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    below,
    call,
    i64,
    load,
    offset,
    splat,
    store,
    vector,
    zeros,
)
from numq.kernels.machine.shuffles import Count, for_blocks
from numq.kernels.machine.tile import Tile, emitted, function_of

F64 = ir.DoubleType()
BYTES = {F32: 4, F64: 8, I32: 4}


class Mode(IntEnum):
    """A way out, as compiled code names it."""

    INTEGERS = 0  #: int32 as they are
    DEQUANTIZED = 1  #: float32
    FLOAT32_EVEN = 2  #: codes: a float32 multiplier, ties to even
    FLOAT64_AWAY = 3  #: codes: a float64 multiplier, ties away from zero
    Q31_SINGLE = 4  #: codes: a fixed-point multiplier, rounded once, half up
    Q31_DOUBLE = 5  #: codes: the high product half up, then the shift half away
    Q31_DOUBLE_UP = 6  #: codes: the high product half up, then the shift half up


class Field(IntEnum):
    """The numbers that begin a record, int64 each; the last three count bytes from its start."""

    MODE = 0
    ITEM = 1  #: bytes of a result
    ZERO = 2
    QMIN = 3
    QMAX = 4
    SCALE = 5
    SHIFT = 6
    BIAS = 7  #: 0 for none


RECORD_HEAD = 8 * len(Field)  #: bytes of them


class Along(Enum):
    """Which axis of the sums the channels run along."""

    COLUMNS = "columns"
    ROWS = "rows"


class Spot(NamedTuple):
    """Where in a block a vector of sums lies."""

    row: Value
    piece: Value
    valid: Count


class Channels:
    """The numbers of each channel: a vector of them along columns, one for all along a row."""

    def __init__(self, b: Builder, tile: Tile, along: Along, record: Value, first: Value) -> None:
        """``record`` is its address, ``first`` the channel where the block begins."""
        self.b, self.lanes, self.along, self.record, self.first = (
            b,
            tile.lanes,
            along,
            record,
            first,
        )

    def number(self, field: Field) -> Value:
        """A number of the record, int64."""
        return load(self.b, I64, offset(self.b, self.record, 8 * field))

    def start(self, field: Field, kind: Any) -> Value:
        """Where the numbers of the block's channels begin."""
        b = self.b
        return b.add(b.add(self.record, self.number(field)), b.mul(self.first, i64(BYTES[kind])))

    def at(self, kind: Any, start: Value, spot: Spot) -> Value:
        """Those of one vector of sums."""
        if self.along is Along.ROWS:
            return _of_row(self.b, kind, start, spot.row, self.lanes)
        first = self.b.mul(spot.piece, i64(self.lanes * BYTES[kind]))
        return load_lanes(self.b, vector(kind, self.lanes), self.b.add(start, first), spot.valid)


Rule = Callable[[Channels], Callable[[Value, Spot], Value]]
"""Loads what all channels share, then makes int32 codes, less the zero point, of int32 sums."""


def _float_ends(channels: Channels, kind: Any) -> tuple[Value, Value]:
    b, zero = channels.b, channels.number(Field.ZERO)
    low, high = (channels.number(end) for end in (Field.QMIN, Field.QMAX))
    return _pair(b, [b.sitofp(b.sub(end, zero), kind) for end in (low, high)], channels.lanes)


def _integer_ends(channels: Channels) -> tuple[Value, Value]:
    b, zero = channels.b, channels.number(Field.ZERO)
    low, high = (channels.number(end) for end in (Field.QMIN, Field.QMAX))
    return _pair(b, [b.trunc(b.sub(end, zero), I32) for end in (low, high)], channels.lanes)


def _pair(b: Builder, ends: list[Value], lanes: int) -> tuple[Value, Value]:
    low, high = (splat(b, end, lanes) for end in ends)
    return low, high


def float32_even(channels: Channels) -> Callable[[Value, Spot], Value]:
    """``clamp(rint(float32(sums) * multiplier))``, ties to even."""
    b, floats = channels.b, vector(F32, channels.lanes)
    start, (low, high) = channels.start(Field.SCALE, F32), _float_ends(channels, F32)

    def codes(sums: Value, spot: Spot) -> Value:
        product = b.fmul(b.sitofp(sums, floats), channels.at(F32, start, spot))
        scaled = call(b, f"llvm.rint.v{channels.lanes}f32", floats, product)
        return b.fptosi(_clamped(b, scaled, low, high), sums.type)

    return codes


def float64_away(channels: Channels) -> Callable[[Value, Spot], Value]:
    """``clamp(round(float64(sums) * multiplier))``, ties away from zero.

    The ends are integers, so clamping first changes nothing; what truncation then leaves is exact.
    """
    b, floats = channels.b, vector(F64, channels.lanes)
    start, (low, high) = channels.start(Field.SCALE, F64), _float_ends(channels, F64)
    half, minus_half = (splat(b, ir.Constant(F64, x), channels.lanes) for x in (0.5, -0.5))

    def codes(sums: Value, spot: Spot) -> Value:
        product = b.fmul(b.sitofp(sums, floats), channels.at(F64, start, spot))
        scaled = _clamped(b, product, low, high)
        whole = b.fptosi(scaled, sums.type)
        rest = b.fsub(scaled, b.sitofp(whole, floats))
        up = b.sext(b.fcmp_ordered(">=", rest, half), sums.type)
        down = b.sext(b.fcmp_ordered("<=", rest, minus_half), sums.type)
        return b.add(b.sub(whole, up), down)

    return codes


def _clamped(b: Builder, value: Value, low: Value, high: Value) -> Value:
    value = b.select(b.fcmp_ordered(">", value, low), value, low)
    return b.select(b.fcmp_ordered("<", value, high), value, high)


def _fixed_point(scaled: Callable[[Builder, Value, Value, Value], Value]) -> Rule:
    """``clamp(scaled(sums, multiplier, shift))``, all in int32.

    Sums that a left shift would push out of int32 are held at its ends.
    """

    def rule(channels: Channels) -> Callable[[Value, Spot], Value]:
        b = channels.b
        multipliers, shifts = channels.start(Field.SCALE, I32), channels.start(Field.SHIFT, I32)
        low, high = _integer_ends(channels)

        def codes(sums: Value, spot: Spot) -> Value:
            shift = channels.at(I32, shifts, spot)
            left = _larger(b, shift, zeros(shift.type))
            least, most = (_constant(end, sums.type) for end in (-(2**31), 2**31 - 1))
            held = _larger(b, _smaller(b, sums, b.ashr(most, left)), b.ashr(least, left))
            result = scaled(b, b.shl(held, left), channels.at(I32, multipliers, spot), shift)
            return _larger(b, _smaller(b, result, high), low)

        return codes

    return rule


def _single(b: Builder, sums: Value, multiplier: Value, shift: Value) -> Value:
    """``floor(sums * multiplier / 2**(31 + right) + 1/2)``: one rounding, half up."""
    wide = vector(I64, sums.type.count)
    right = b.zext(b.add(_right(b, shift), _constant(31, shift.type)), wide)
    half = b.shl(_constant(1, wide), b.sub(right, _constant(1, wide)))
    product = b.mul(b.sext(sums, wide), b.sext(multiplier, wide))
    return b.trunc(b.ashr(b.add(product, half), right), sums.type)


def _double(b: Builder, sums: Value, multiplier: Value, shift: Value) -> Value:
    """The high product, then ``round(high / 2**right)``, half away from zero."""
    high, right = _high_product(b, sums, multiplier), _right(b, shift)
    one = _constant(1, high.type)
    mask = b.sub(b.shl(one, right), one)
    negative = b.icmp_signed("<", high, zeros(high.type))
    threshold = b.sub(b.lshr(mask, one), b.sext(negative, high.type))
    above = b.icmp_signed(">", b.and_(high, mask), threshold)
    return b.sub(b.ashr(high, right), b.sext(above, high.type))


def _double_up(b: Builder, sums: Value, multiplier: Value, shift: Value) -> Value:
    """The high product, then ``floor(high / 2**right + 1/2)``: its last lost bit carries."""
    high, right = _high_product(b, sums, multiplier), _right(b, shift)
    one = _constant(1, high.type)
    lost = b.and_(high, b.lshr(b.shl(one, right), one))
    return b.sub(
        b.ashr(high, right), b.sext(b.icmp_signed("!=", lost, zeros(high.type)), high.type)
    )


def _high_product(b: Builder, sums: Value, multiplier: Value) -> Value:
    """``floor(sums * multiplier / 2**31 + 1/2)``; the multiplier is not negative, so it fits."""
    wide = vector(I64, sums.type.count)
    product = b.mul(b.sext(sums, wide), b.sext(multiplier, wide))
    # The low 32 bits are those of an arithmetic shift, which not every processor has for int64.
    return b.trunc(b.lshr(b.add(product, _constant(2**30, wide)), _constant(31, wide)), sums.type)


def _right(b: Builder, shift: Value) -> Value:
    return _larger(b, b.neg(shift), zeros(shift.type))


RULES: dict[Mode, Rule] = {
    Mode.FLOAT32_EVEN: float32_even,
    Mode.FLOAT64_AWAY: float64_away,
    Mode.Q31_SINGLE: _fixed_point(_single),
    Mode.Q31_DOUBLE: _fixed_point(_double),
    Mode.Q31_DOUBLE_UP: _fixed_point(_double_up),
}


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
                    exact = b.add(exact, _of_row(b, I32, beside, row, tile.lanes))
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
        product = b.mul(_of_row(b, I32, down, row, tile.lanes), factor)
        store_lanes(b, b.add(load_lanes(b, words, place, valid), product), place, valid)

    for_blocks(b, rows, 1, columns, tile.lanes, block)


def _of_row(b: Builder, kind: Any, start: Value, row: Value, lanes: int) -> Value:
    """The number of a row in every lane."""
    return splat(b, load(b, kind, b.add(start, b.mul(row, i64(BYTES[kind])))), lanes)


def _constant(number: int, kind: Any) -> Value:
    return ir.Constant(kind, [number] * kind.count)


def _larger(b: Builder, left: Value, right: Value) -> Value:
    return call(b, f"llvm.smax.v{left.type.count}i32", left.type, left, right)


def _smaller(b: Builder, left: Value, right: Value) -> Value:
    return call(b, f"llvm.smin.v{left.type.count}i32", left.type, left, right)


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
