"""The rules by which int32 sums become codes, a vector at a time; and what they know of a channel.

Each is the operations of `reference` in the same order. Nothing here may be contracted into a fused
multiply-add, which would round once where the definition rounds twice: LLVM does so only if asked
to.

What belongs to a channel (its multiplier, its shift, its bias) lies in a *record*, see `ways`.
Channels are the columns of the sums (a product, an image NHWC) or their rows (NCHW).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Any, NamedTuple

from llvmlite import ir

from numq.kernels.machine.ir import (
    F32,
    F64,
    I32,
    I64,
    Builder,
    Value,
    call,
    i64,
    load,
    offset,
    splat,
    vector,
    zeros,
)
from numq.kernels.machine.shuffles import Count, load_lanes
from numq.kernels.machine.tile import Tile

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
            return of_row(self.b, kind, start, spot.row, self.lanes)
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


def of_row(b: Builder, kind: Any, start: Value, row: Value, lanes: int) -> Value:
    """The number of a row in every lane."""
    return splat(b, load(b, kind, b.add(start, b.mul(row, i64(BYTES[kind])))), lanes)


def _constant(number: int, kind: Any) -> Value:
    return ir.Constant(kind, [number] * kind.count)


def _larger(b: Builder, left: Value, right: Value) -> Value:
    return call(b, f"llvm.smax.v{left.type.count}i32", left.type, left, right)


def _smaller(b: Builder, left: Value, right: Value) -> Value:
    return call(b, f"llvm.smin.v{left.type.count}i32", left.type, left, right)
