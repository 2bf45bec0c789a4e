"""The vector code of the elementwise passes: what happens to one run of neighbours in memory.

The passes are plain vector IR, 16 lanes at a time, which LLVM lowers for any processor: to one
512-bit register, two of 256 or four of 128. Nothing here depends on the ``Isa``. Two facts do the
work:

*   After clamping, ``v + 1.5 * 2**23`` has no room for a fraction: the addition itself rounds ``v``
    to the nearest integer, ties to even, and its low bits *are* that integer.
*   ``x - x`` is +0 exactly when ``x`` is finite, so or-ing those bits finds every NaN and infinity.

A *run* has one scale; *across*, each element has its own. Addresses and counts are int64; where a
run is not a multiple of 16 its last vector overlaps the one before, so ``out`` must not overlap
``x``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from llvmlite import ir

from numq.kernels.machine.ir import (
    F32,
    I8,
    I16,
    I32,
    I64,
    Builder,
    Value,
    counted_loop,
    i64,
    load,
    splat,
    store,
    vector,
)
from numq.kernels.machine.tile import Tile, emitted

LANES = 16
MAGIC = 1.5 * 2.0**23  #: rounds what it is added to
MAGIC_BITS = 0x4B400000  #: the same number, as its bits

Body = Callable[[Value, int], Value]  #: (index of the first element, lanes) -> the floats there


def for_vectors(b: Builder, count: Value, flaws: Value, body: Body) -> None:
    """Cover ``count`` elements with vectors of ``LANES``; the last overlaps. Fewer go one by one.

    What is not finite among the values that ``body`` returns is or-ed into 16 int32 at ``flaws``.
    """
    whole = b.sdiv(count, i64(LANES))
    rest = b.icmp_signed("!=", b.mul(whole, i64(LANES)), count)
    many = b.icmp_signed(">", whole, i64(0))

    def cover(times: Value, first: Callable[[Value], Value], lanes: int) -> None:
        def turn(index: Value, seen: list[Value]) -> list[Value]:
            return [b.or_(seen[0], flaws_of(b, body(first(index), lanes)))]

        before = load(b, vector(I32, lanes), flaws)
        store(b, counted_loop(b, times, [before], turn)[0], flaws)

    with b.if_else(many) as (vectors, few):
        with vectors:
            cover(whole, lambda index: b.mul(index, i64(LANES)), LANES)
            cover(b.zext(rest, I64), lambda _: b.sub(count, i64(LANES)), LANES)
        with few:
            cover(count, lambda index: index, 1)


def item(b: Builder, kind: ir.Type, lanes: int, base: Value, index: Value) -> Value:
    """``base[index : index + lanes]``."""
    size = 4 if kind == F32 else kind.width // 8
    return load(b, vector(kind, lanes), b.add(base, b.mul(index, i64(size))))


def put(b: Builder, value: Value, base: Value, index: Value) -> None:
    """``base[index : index + lanes] = value``."""
    lane = value.type.element
    size = 4 if lane == F32 else lane.width // 8
    store(b, value, b.add(base, b.mul(index, i64(size))))


def larger(b: Builder, value: Value, low: Value) -> Value:
    """``value if value > low else low``: a NaN becomes ``low``."""
    return b.select(b.fcmp_ordered(">", value, low), value, low)


def smaller(b: Builder, value: Value, high: Value) -> Value:
    """``value if value < high else high``: a NaN becomes ``high``."""
    return b.select(b.fcmp_ordered("<", value, high), value, high)


def flaws_of(b: Builder, x: Value) -> Value:
    """The bits of ``x - x``: not 0 where ``x`` is NaN or infinite."""
    return b.bitcast(b.fsub(x, x), vector(I32, x.type.count))


class Grid:
    """Scale, zero point and the clamp, one for each lane."""

    def __init__(
        self, b: Builder, scale: Value, zero_point: Value, qmin: Value, qmax: Value
    ) -> None:
        """Vectors of float32 and int32, and the int64 range of the codes."""
        self.b, self.scale, self.zero_point = b, scale, zero_point
        lanes = scale.type.count
        floats = vector(F32, lanes)
        low, high = (splat(b, b.trunc(bound, I32), lanes) for bound in (qmin, qmax))
        self.low = b.sitofp(b.sub(low, zero_point), floats)
        self.high = b.sitofp(b.sub(high, zero_point), floats)

    def magic(self) -> Value:
        """The rounding constant in every lane."""
        return splat(self.b, ir.Constant(F32, MAGIC), self.scale.type.count)

    def steps(self, x: Value) -> Value:
        """``clip(rint(x / scale), qmin - zero_point, qmax - zero_point) + MAGIC``, float32."""
        b = self.b
        inside = smaller(b, larger(b, b.fdiv(x, self.scale), self.low), self.high)
        return b.fadd(inside, self.magic())

    def codes(self, x: Value) -> Value:
        """int32 codes."""
        b, words = self.b, vector(I32, self.scale.type.count)
        bits = b.bitcast(self.steps(x), words)
        surplus = splat(b, ir.Constant(I32, MAGIC_BITS), words.count)
        return b.add(bits, b.sub(self.zero_point, surplus))


QUANTIZE, FAKE_QUANTIZE, DEQUANTIZE = range(3)
SHARED, EACH = range(2)  #: one scale and zero point for the run, or one for each element


@emitted
def elementwise_run(
    b: Builder, tile: Tile, count: Value, x: Value, scale: Value, zero_point: Value, first: Value,
    second: Value, out: Value, flaws: Value, *, kind: Literal[0, 1, 2], bits: Literal[8, 16],
    scales: Literal[0, 1],
) -> None:  # fmt: skip
    """One run of QUANTIZE, FAKE_QUANTIZE or DEQUANTIZE, its codes of 8 or 16 bits.

    ``first`` and ``second`` are the ends of the codes. To dequantize, ``first`` is the sign bit of
    unsigned codes, else 0: ``(code ^ sign) + sign`` is an unsigned code read with a sign bit.
    """
    code = I8 if bits == 8 else I16
    shared = None if scales == EACH else (load(b, F32, scale), load(b, I32, zero_point))

    def parameters(index: Value, lanes: int) -> tuple[Value, Value]:
        if shared is not None:
            return splat(b, shared[0], lanes), splat(b, shared[1], lanes)
        return item(b, F32, lanes, scale, index), item(b, I32, lanes, zero_point, index)

    def forward(index: Value, lanes: int) -> Value:
        values = item(b, F32, lanes, x, index)
        grid = Grid(b, *parameters(index, lanes), first, second)
        if kind == QUANTIZE:
            put(b, b.trunc(grid.codes(values), vector(code, lanes)), out, index)
        else:
            put(b, b.fmul(b.fsub(grid.steps(values), grid.magic()), grid.scale), out, index)
        return values

    def backward(index: Value, lanes: int) -> Value:
        s, z = parameters(index, lanes)
        flipped = b.xor(item(b, code, lanes, x, index), splat(b, b.trunc(first, code), lanes))
        surplus = b.sub(splat(b, b.trunc(first, I32), lanes), z)
        steps = b.add(b.sext(flipped, vector(I32, lanes)), surplus)
        put(b, b.fmul(b.sitofp(steps, vector(F32, lanes)), s), out, index)
        return s

    for_vectors(b, count, flaws, backward if kind == DEQUANTIZE else forward)
