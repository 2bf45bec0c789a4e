"""The vector code of minimum, maximum and sum of one run of neighbours.

NaN is passed over, and found as in `runs`. -0 and +0 count as one value, +0, since which of them
came first would depend on the number of lanes. Without any number the minimum is +inf and the
maximum -inf.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from numq.kernels.machine.ir import (
    F32,
    I8,
    I32,
    Builder,
    Value,
    call,
    counted_loop,
    i64,
    load,
    offset,
    splat,
    store,
    vector,
    zeros,
)
from numq.kernels.machine.tile import Tile, emitted
from numq.kernels.passes.runs import flaws_of, item, larger, smaller

WIDE = 32  #: lanes: enough chains of dependent minima to keep up with memory
INFINITY = float("inf")

Step = Callable[[Value, int, list[Value]], list[Value]]  #: (first index, lanes, seen) -> seen


def _folded(
    b: Builder, count: Value, start: Callable[[int], list[Value]], step: Step
) -> tuple[list[Value], list[Value]]:
    """What ``step`` makes of ``start`` along a run: in WIDE lanes, and of the rest in one."""
    whole = b.sdiv(count, i64(WIDE))
    done = b.mul(whole, i64(WIDE))

    def wide(index: Value, seen: list[Value]) -> list[Value]:
        return step(b.mul(index, i64(WIDE)), WIDE, seen)

    def single(index: Value, seen: list[Value]) -> list[Value]:
        return step(b.add(done, index), 1, seen)

    lanes = counted_loop(b, whole, start(WIDE), wide)
    return lanes, counted_loop(b, b.sub(count, done), start(1), single)


@emitted
def min_max_run(
    b: Builder, tile: Tile, count: Value, x: Value, result: Value, flaws: Value
) -> None:
    """Smallest and largest of ``count`` float32 at ``x``: two float32 at ``result`` move apart.

    The first int32 at ``flaws`` is or-ed with something not 0 if NaN or infinity came by.
    """

    def start(lanes: int) -> list[Value]:
        ends = [splat(b, ir.Constant(F32, end), lanes) for end in (INFINITY, -INFINITY)]
        return [*ends, zeros(vector(I32, lanes))]

    def step(at: Value, lanes: int, seen: list[Value]) -> list[Value]:
        values = item(b, F32, lanes, x, at)
        low, high = smaller(b, values, seen[0]), larger(b, values, seen[1])
        return [low, high, b.or_(seen[2], flaws_of(b, values))]

    wide, rest = _folded(b, count, start, step)
    one = vector(F32, 1)
    for number, (name, pick) in enumerate((("fmin", smaller), ("fmax", larger))):
        folded = splat(b, call(b, f"llvm.vector.reduce.{name}.v{WIDE}f32", F32, wide[number]), 1)
        place = offset(b, result, 4 * number)
        kept = pick(b, pick(b, folded, rest[number]), load(b, one, place))
        store(b, b.fadd(kept, zeros(one)), place)  # -0 + 0 is +0
    bits = call(b, f"llvm.vector.reduce.or.v{WIDE}i32", I32, wide[2])
    seen = b.or_(splat(b, bits, 1), rest[2])
    store(b, b.or_(load(b, vector(I32, 1), flaws), seen), flaws)


@emitted
def sum_run(b: Builder, tile: Tile, count: Value, codes: Value, result: Value, sign: Value) -> None:
    """``result = sign * sum(codes)``: int32 of ``count`` int8; ``sign`` is 1 or -1."""

    def start(lanes: int) -> list[Value]:
        return [zeros(vector(I32, lanes))]

    def step(at: Value, lanes: int, sums: list[Value]) -> list[Value]:
        return [b.add(sums[0], b.sext(item(b, I8, lanes, codes, at), vector(I32, lanes)))]

    (wide,), (rest,) = _folded(b, count, start, step)
    folded = splat(b, call(b, f"llvm.vector.reduce.add.v{WIDE}i32", I32, wide), 1)
    store(b, b.mul(b.add(folded, rest), splat(b, b.trunc(sign, I32), 1)), result)
